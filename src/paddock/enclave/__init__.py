"""The measured runtime: boot, prove, collect keys, open, run the job, seal, receipt. A fresh process per run."""
