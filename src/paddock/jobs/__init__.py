"""What runs inside: kinds of jobs over sealed programs. Only this room imports PaddlePaddle, and only when one runs."""
