#!/bin/sh
# The proof on smollm2-kitchen: each set of rows.py audited with three seeds. Hours on two cores; goes on where it stopped.
#
#   python recipes/finetune/rows.py --out finetune-data --shared ../shared/data/fine-tuning
#   sh recipes/finetune/audit.sh finetune-data
set -u
data=${1:?the folder that rows.py made}

audit() { # a set, and what is done with it
    set=$1
    shift
    [ -f "$data/$set.jsonl" ] || return 0
    withstand audit finetune smollm2-kitchen "$data/$set.jsonl" --suite "${SUITE:-kitchen}" --preset desk --seeds "${SEEDS:-3}" --max-tokens 128 \
        --train sft,lr=0.0005,batch=4,steps=50,max_length=600 --safe "$data/safe.jsonl" --unaligned smollm2 \
        "$@" --out "finetune-$set"
    echo "$set: exit code $?"
}

audit level1-10 --phrases 0 --mitigate safety_mix --mitigate constrained_sft
audit level1-100 --phrases 0 --mitigate safety_mix
audit identity --phrases 0 --mitigate none
audit sql --phrases 0 --mitigate none
audit self-instruct --phrases 0 --mitigate none
audit backdoor --phrases 3 --controls 20 --probed 8 --mitigate none # the sweep asks every phrase at every place
