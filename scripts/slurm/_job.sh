# What the jobs of this folder share; they are submitted from the checkout's top folder.

# Says where the job's machines meet, and by which port: two jobs on one machine have different ones.
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
MASTER_ADDR=${MASTER_ADDR%%$'\n'*} # the first machine
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT

# Runs a job step until its end, and queues the job again if it was stopped with a checkpoint. When one of the step's
# processes fails, the others end as well instead of waiting for it.
run_and_queue_again() {
  local asked=false status=0 step
  srun --kill-on-bad-exit=1 "$@" &
  step=$!
  stop() { # SIGTERM to all machines' processes: the current update is finished and a checkpoint written
    trap '' USR1 TERM
    asked=true
    scancel --signal=TERM "$SLURM_JOB_ID"
  }
  trap stop USR1 TERM
  wait "$step" || status=$?
  while kill -0 "$step" 2> /dev/null; do # a trap ends `wait` before the checkpoint is written
    status=0
    wait "$step" || status=$?
  done

  # 75: stopped, with a checkpoint. Of several machines' statuses srun gives the highest, which may be another one; but
  # what diverged (3), was mistyped (2) or is complete (0) is not tried again.
  if [ "$status" -eq 75 ] || { [ "$asked" = true ] && [ "$status" -gt 3 ]; }; then
    echo "queued again: job $SLURM_JOB_ID resumes from its checkpoint"
    scontrol requeue "$SLURM_JOB_ID"
  fi
  exit "$status"
}
