#!/bin/sh
# The whole chain from a real engine to a policy trained without it:
#
#     scripts/make_simulator.sh CONFIG FOLDER [STEP...]
#
# STEPs, in their order: collect record label tune prompted tuned train. All by default; each goes on where it was cut off or
# is skipped where its result is in FOLDER. Settings by environment:
#     ZEROSEARCH   the command (zerosearch)          SET         further "--set key=value ..." for every CONFIG step
#     QUESTIONS    whole questions to record too     TRACES      files of recorded pages to learn from as well
#     HELDOUT      questions for fidelity            COLLECT     options of collect; TUNE, FIDELITY, TRAIN likewise
#     PLAN         temperature of its decisions (0), or none
set -eu
config=$1 folder=$2
shift 2
zerosearch=${ZEROSEARCH:-zerosearch}
base=$(sed -n 's/^name = "\(.*\)"/\1/p' "$config" | sed -n 2p)   # of [model]: the second name of the file
model=${MODEL:-$base}
set_="--set model.name=$model --set engine.simulated.model=$model ${SET:-}"
tuned_="--set engine.simulated.adapter=$folder/simulator --set engine.simulated.style=tuned \
    --set engine.simulated.plan_temperature=${PLAN:-0}"
mkdir -p "$folder"

collect() {   # the policy's own queries, several turns until its answer
    $zerosearch collect "$config" --out "$folder/pages" ${COLLECT:-} $set_
}
record() {    # the same queries once more, deeper: what an engine ranks behind its page is what noise looks like
    $zerosearch record "$config" --queries "$folder/pages" --out "$folder/deep.jsonl" $set_
    [ -z "${QUESTIONS:-}" ] || $zerosearch record "$config" --queries "$QUESTIONS" --out "$folder/whole.jsonl" $set_
}
label() {
    $zerosearch label "$config" "$folder/pages" --out "$folder/outcome.jsonl" ${JUDGE:-} $set_ # the ways side by side, and pages to read
    recorded="--recorded $folder/deep.jsonl"
    [ ! -f "$folder/whole.jsonl" ] || recorded="$recorded --recorded $folder/whole.jsonl"
    for trace in ${TRACES:-}; do recorded="$recorded --recorded $trace"; done
    $zerosearch label "$config" $recorded --out "$folder/labels.jsonl" $set_
}
tune() {
    [ -f "$folder/simulator/card.json" ] ||
        $zerosearch tune "$config" "$folder/labels.jsonl" --out "$folder/simulator" ${TUNE:-} $set_
}
prompted() {  # the same base model, only told what to do
    $zerosearch fidelity "$config" --queries "${HELDOUT:-data/heldout.jsonl}" --out "$folder/prompted" ${FIDELITY:-} $set_ \
        --set engine.simulated.style=instruct
}
tuned() {
    $zerosearch fidelity "$config" --queries "${HELDOUT:-data/heldout.jsonl}" --out "$folder/tuned" ${FIDELITY:-} $set_ $tuned_
}
train() {
    $zerosearch train "$config" --folder "$folder/runs" $set_ $tuned_ ${TRAIN:-}
}

[ $# -gt 0 ] || set -- collect record label tune prompted tuned train
for step; do
    echo "== $step"
    $step
done
