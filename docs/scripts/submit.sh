#!/bin/bash
# submit.sh BIDS_DIR OUTPUT_DIR LIST
# a job for each participant of LIST, 20 at a time, then group

tasks=1-$(grep -c '' "$3")%20
array=$(sbatch --parsable --array="$tasks" \
    "$(dirname "$0")/array.sh" "$1" "$2" "$3")
sbatch --job-name=bidsharmony-group --mem=8G --time=4:00:00 \
    --dependency="afterany:$array" \
    --wrap="${BIDSHARMONY:-bidsharmony} '$1' '$2' group"
