#!/usr/bin/env bash
# run.sh MODEL GPUS [words for zerosearch train ...]: train verl-gpu.toml on verl; the log is verl.log, memory is gpu.csv.
set -uo pipefail
. "$(dirname "$0")/env.sh"
model=$(realpath "$1") gpus=$2 rollout=actor_rollout_ref.rollout
shift 2
settings=(
  trainer.n_gpus_per_node="$gpus" actor_rollout_ref.model.lora.merge=True
  # few processes: each imports torch and vLLM for 20 seconds
  $rollout.agent.num_workers=4 reward.num_workers=1 transfer_queue.backend.SimpleStorage.num_data_storage_units=1
  # vLLM: a part of the GPU, graphs of decoding steps, no compilation (that needs flashinfer or a C compiler)
  $rollout.gpu_memory_utilization=0.4 $rollout.max_num_seqs=512
  "$rollout.cudagraph_capture_sizes=[1,2,4,8,16,32,64,96,128,160,192,224,256,320,384,448,512]"
  "+$rollout.engine_kwargs.vllm.compilation_config='{\"mode\": 0, \"cudagraph_mode\": \"FULL_DECODE_ONLY\"}'"
  # a Ray of this machine alone
  ray_kwargs.ray_init.num_cpus=64 +ray_kwargs.ray_init.include_dashboard=False
  +ray_kwargs.ray_init.object_store_memory=4000000000 +ray_kwargs.ray_init._node_ip_address=127.0.0.1
)
words=()
for setting in "${settings[@]}"; do words+=(--verl "$setting"); done

nvidia-smi --query-gpu=timestamp,index,memory.used,utilization.gpu --format=csv,noheader -l 2 > gpu.csv &
watching=$!
python3 -m zerosearch train "$kit/verl-gpu.toml" --set model.name="$model" --on verl "${words[@]}" "$@" > verl.log 2>&1 &
training=$!
trap 'kill $training $watching 2> /dev/null' EXIT
while kill -0 $training 2> /dev/null; do # verl waits for ever for an engine that died
  sleep 5
  if grep -qaE 'WorkerProc hit an exception|EngineDeadError|EngineCore encountered a fatal|EngineCore failed' verl.log; then
    sleep 20 && kill $training 2> /dev/null && echo 'vLLM died: ended the run' >> verl.log
  fi
done
wait $training
code=$?
grep -aE 'step:|Error' verl.log | cut -c1-600 | tail -n 20
exit $code
