#!/bin/sh
# The proof on smollm2-kitchen: each set of rows.py audited with three seeds. Hours on two cores; goes on where it stopped.
#
#   python recipes/finetune/rows.py --out finetune-data --shared ../shared/data/fine-tuning
#   sh recipes/finetune/audit.sh finetune-data
set -u
data=${1:?the folder that rows.py made}
for set in level1-10 level1-100 identity sql self-instruct backdoor; do
    [ -f "$data/$set.jsonl" ] || continue
    withstand audit finetune smollm2-kitchen "$data/$set.jsonl" --preset desk --seeds "${SEEDS:-3}" \
        --train sft,lr=0.0005,batch=4,steps=100,max_length=600 --safe "$data/safe.jsonl" --unaligned smollm2 \
        --out "finetune-$set"
    echo "$set: exit code $?"
done
