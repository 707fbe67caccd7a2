#!/usr/bin/env bash
# Churn against a reference model: see support/churn.py. CHURN_SECONDS and SEED for other runs
# (`make churn`); STEPS replays a failure up to its step.
set -euo pipefail
source "$(dirname "$0")/../lib.sh"

start --memory 64M

churn() {
  PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 "$LIBRARY/clients/support/churn.py" \
    "${CHURN_SECONDS:-15}" "${SEED:-20120911}" ${STEPS:-}
}

check "random writes, zeroes, trims, forks, resets and drops do what the model does; nothing is left" churn
finish
