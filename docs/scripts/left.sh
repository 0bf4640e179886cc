#!/bin/bash
# left.sh OUTPUT_DIR LIST
# the participants of LIST that are not done, or have a run that failed

while read -r subject; do
    if [ ! -e "$1/.bidsharmony/done/sub-$subject.json" ] ||
        grep -qs "^sub-$subject/" "$1/logs/failures.tsv"; then
        echo "$subject"
    fi
done < "$2"
