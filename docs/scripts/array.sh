#!/bin/bash
#SBATCH --job-name=bidsharmony
#SBATCH --cpus-per-task=1
#SBATCH --mem=8G
#SBATCH --time=1:00:00
#SBATCH --output=bidsharmony-%A_%a.out
#
# array.sh BIDS_DIR OUTPUT_DIR LIST
# the participant in that line of LIST which is this task's

bidsharmony=${BIDSHARMONY:-bidsharmony}
subject=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$3")
scratch=$(mktemp -d "${TMPDIR:-/tmp}/bidsharmony-XXXXXXXX")
trap 'rm -rf "$scratch"' EXIT
# a container of Apptainer sees it too, wherever the node has it
export APPTAINER_BIND="${APPTAINER_BIND:+$APPTAINER_BIND,}$scratch"

# without quotes, since it may be several words
$bidsharmony "$1" "$2" participant \
    --participant-label "$subject" --work-dir "$scratch"
