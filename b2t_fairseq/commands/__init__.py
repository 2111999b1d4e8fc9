"""What stands behind our command: fairseq's commands, the help, completion, and the doctor."""
