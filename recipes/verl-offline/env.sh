# Source it: the environment of every command on the machine without network.
kit=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH=$kit/src:$kit/site PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 RAY_USAGE_STATS_ENABLED=0 VLLM_NO_USAGE_STATS=1
export VLLM_USE_FLASHINFER_SAMPLER=0     # flashinfer is not among the wheels
export VLLM_HOST_IP=127.0.0.1 NO_PROXY=127.0.0.1,localhost no_proxy=127.0.0.1,localhost
export RAY_memory_monitor_refresh_ms=0   # Ray's monitor ended workers of a machine that had memory
export VERL_PLATFORM=nvidia HYDRA_FULL_ERROR=1
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY PYTORCH_CUDA_ALLOC_CONF PYTORCH_ALLOC_CONF
