#!/bin/bash
#SBATCH --job-name=s1sweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=96
#SBATCH --gpus-per-node=H100:8
#SBATCH --mem=1000G
#SBATCH --time=1-12:00:00
#SBATCH --account=lab
#SBATCH --partition=gpu
#SBATCH --qos=high
#SBATCH --constraint=ib
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output="/shared/store/launch/%j.log"
#SBATCH --export=HOME,USER,LOGNAME,PATH,LANG,WANDB_API_KEY
#SBATCH --exclusive

nodes=2
cpus=96
wait_seconds=600
grace_seconds=120
requeue=1
interface=ib0
container=''
shared_dir=/shared/store/launch
ray_args=(--num-cpus=96 --num-gpus=8)
head_args=()
command=(s1sweep run -m data=random,diverse placement.ray_address=auto)
export S1SWEEP_ROOT=/shared/store
export HF_HOME='/shared/hf home'
source /shared/.venv/bin/activate

set -euo pipefail

say() { echo "s1sweep launch: $*" >&2; }

# A folder of this start of the job alone, which every node sees. Only the token is kept from others' eyes.
run_dir="$shared_dir/$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"
(umask 077 && mkdir -p "$run_dir")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$run_dir/token"
(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")

cluster=()
asked=
pid=
killer=

finish() {
    trap '' USR1 TERM
    trap - EXIT
    # Each node ends its own Ray and clears its folder. Not `ray stop`: it ends every Ray of this user on a host.
    for step in $(squeue --noheader --steps --jobs="$SLURM_JOB_ID" --format=%i | grep -E '\.[0-9]+$'); do
        scancel --quiet --signal=TERM "$step" 2>/dev/null || true # 22.05 complains of a step that it did signal
    done
    for _ in {1..30}; do
        kill -0 "${cluster[@]}" 2>/dev/null || break
        sleep 0.5
    done
    kill "${cluster[@]}" $killer 2>/dev/null || true
    rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap finish EXIT

fail() {
    say "$*"
    exit 1
}

# Slurm asks with USR1 when the time limit nears. TERM is a cancel, or a preemption after which Slurm itself requeues.
stop() {
    asked=$1
    again=1
    [ -n "$pid" ] || go
    say "asked to stop ($1): ending $doing, which has $((grace_seconds - 20)) s"
    kill -TERM "$pid" 2>/dev/null || true
    (sleep $((grace_seconds - 20)) && kill -KILL "$pid" 2>/dev/null) &
    killer=$!
}

go() {
    if [ "$asked" = limit ] && [ "$requeue" = 1 ]; then
        finish
        say "queueing job $SLURM_JOB_ID again"
        scontrol requeue "$SLURM_JOB_ID" || say "Slurm does not requeue it: submit the same command again"
    fi
    [ "$asked" != term ] || exit 143
    exit "${1:-1}"
}
trap 'stop limit' USR1
trap 'stop term' TERM

# Runs $2... so that a signal is heeded at once: it ends `wait` early, and the program's own exit code is what counts.
watched() {
    doing=$1
    # shellcheck disable=SC2086
    $container "${@:2}" &
    pid=$!
    again=1
    while [ -n "$again" ]; do
        again=
        wait "$pid" && rc=0 || rc=$?
    done
    [ -z "$asked" ] || go "$rc"
    pid=
}

# Ports from the job's id: two jobs on one host do not meet. Ray picks the others itself.
port=$((20000 + SLURM_JOB_ID % 1200 * 10))
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
address() {
    if [ -n "$interface" ]; then
        ip -4 -o addr show dev "$interface" | awk '{sub("/.*", "", $4); print $4; exit}'
    else
        hostname -I | awk '{print $1}'
    fi
}
head_ip=$(address)
[ -n "$head_ip" ] || fail "this node has no address${interface:+ on $interface}; see launcher.interface"
export RAY_ADDRESS="$head_ip:$port" RAY_USAGE_STATS_ENABLED=0
# Ray would drain a node for 30 s after TERM, when nothing is left to drain.
export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0

# One machine's Ray. Short paths: a socket's may have 107 characters.
ray_node() {
    temp=/tmp/s1s-$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}-${1:0:1}$SLURM_PROCID
    local agent role
    if [ "$1" = head ]; then
        agent=$((port + 3))
        role=(--head --port="$port" --ray-client-server-port=$((port + 1))
            --dashboard-host=127.0.0.1 --dashboard-port=$((port + 2)))
    else
        agent=$((port + 4 + SLURM_PROCID % 6))
        role=(--address="$RAY_ADDRESS")
    fi
    trap 'kill $ray_pid' TERM
    trap 'rm -rf "$temp"' EXIT
    # shellcheck disable=SC2086
    $container ray start "${role[@]}" --node-ip-address="$(address)" --temp-dir="$temp" \
        --dashboard-agent-listen-port=$agent --disable-usage-stats --block "${@:2}" &
    ray_pid=$!
    wait $ray_pid || wait $ray_pid
}
node="$(declare -f ray_node address; declare -p port interface container)"

# srun must be told: the environment is not the job's (--export above), nor are the CPUs of a task since Slurm 22.05.
step=(srun --export=ALL --overlap --ntasks-per-node=1 --cpus-per-task="$cpus" --kill-on-bad-exit=0)
"${step[@]}" --nodes=1 --ntasks=1 --nodelist="$head" --output="$run_dir/ray-head.log" \
    bash -c "$node"$'\nray_node head "$@"' ray "${ray_args[@]}" "${head_args[@]}" &
cluster+=($!)
until (exec 3<>"/dev/tcp/$head_ip/$port") 2>/dev/null; do
    kill -0 "${cluster[0]}" 2>/dev/null || fail "Ray's head ended: $(tail -n 5 "$run_dir/ray-head.log")"
    ((SECONDS < wait_seconds)) || fail "Ray's head did not answer at $RAY_ADDRESS in $wait_seconds s: $run_dir/ray-head.log"
    sleep 1
done
if ((nodes > 1)); then
    "${step[@]}" --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$head" --output="$run_dir/ray-worker-%t.log" \
        bash -c "$node"$'\nray_node worker "$@"' ray "${ray_args[@]}" &
    cluster+=($!)
fi
watched "the wait for machines" python -m s1sweep.launchers.wait --nodes "$nodes" --seconds "$wait_seconds"
[ "$rc" = 0 ] || fail "the cluster is not complete; logs: $run_dir"
watched "the command" "${command[@]}"
exit "$rc"
