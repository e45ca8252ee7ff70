"""The routes of `/generate` and `/jobs`: a text becomes a job, and the job a sound with the clips nearest to it."""
