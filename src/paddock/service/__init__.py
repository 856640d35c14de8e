"""What hub and keeper share as services: database, web application, server, client. Knows no contracts or keys."""
