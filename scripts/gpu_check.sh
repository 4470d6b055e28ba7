#!/usr/bin/env bash
# Checks and measures the CUDA path on the machine at hand.
#
#   scripts/gpu_check.sh [PART...]                  # of tests rates operator launches step compiled resume; default: all
#   scripts/gpu_check.sh --rehearse [PART...]       # without a GPU: the same steps, tiny, kernels interpreted
#     --output FOLDER             default: runs/gpu_check
#     --peer PACKAGE.MODULE:FUNCTION              a foreign training step to measure beside ours, see step_speed.py
#     --peer-operator PACKAGE.MODULE:FUNCTION     a foreign operator, see kernels/benchmarks/matrix.py
#
# Needs a CUDA device and an environment with the project's packages (PYTHON=path/to/python to choose one); the
# project itself need not be installed. Writes report.md, a CSV for every part and profile.txt. Every part has a time
# limit of at most 3 minutes, all of them together 10 minutes, and its failure does not stop the others; the exit
# status is 1 if any failed.
#
#   tests      the tests marked gpu                       launches   every launch of the kernels' table, alone
#   rates      of gathering and adding rows in memory     step       the whole training step in its variants
#   operator   deformable attention beside its twin       compiled   the step compiled layer by layer
#   resume     killed trainings go on bit by bit, with deterministic algorithms
set -u
cd "$(dirname "$0")/.."
rehearse=
output=runs/gpu_check
parts=()
peers=()
operators=()
while [ $# -gt 0 ]; do
    case $1 in
        --rehearse) rehearse=1 ;;
        --output) output=$2 && shift ;;
        --peer) peers+=("$2") && shift ;;
        --peer-operator) operators+=("$2") && shift ;;
        tests | rates | operator | launches | step | compiled | resume) parts+=("$1") ;;
        *) echo "gpu_check.sh: unknown part or option $1; the head of the file lists them" >&2 && exit 2 ;;
    esac
    shift
done
[ ${#parts[@]} -gt 0 ] || parts=(tests rates operator launches step compiled resume)
python=${PYTHON:-python3}
[ -x .venv/bin/python ] && [ -z "${PYTHON:-}" ] && python=.venv/bin/python
export PYTHONPATH="src:kernels:.${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 MPLBACKEND=agg
mkdir -p "$output"
report=$output/report.md
failed=0

step_speed=("$python" -m scripts.benchmarks.step_speed)
if [ -n "$rehearse" ]; then
    export TRITON_INTERPRET=1
    device=cpu
    tests=(tests/kernels/interpreted.py -k "twin or benchmark")
    rates=(--device cpu --programs 2 --repeats 2)
    operator=(--device cpu --shapes D2 --dtypes float32 --rounds 2 --repeats 1)
    launches=(--device cpu --shapes T1-10 --dtypes float32 --launches 512/1 --rounds 1 --repeats 2 --jobs 0)
    step=(--device cpu --batches 2 --size 128 128 --steps 1 --variants fp32 bf16+hungarian)
    compiled=(--device cpu --batches 2 --size 128 128 --steps 1 --variants fp32)
    resume=(trainer.accelerator=cpu)
else
    device=cuda
    tests=(-n 6 -p no:benchmark -m gpu tests/kernels tests/ops tests/golden/test_models.py)
    rates=(--repeats 20)
    operator=(--shapes E1 D1 --dtypes float32 bfloat16 --rounds 3 --repeats 10)
    launches=(--rounds 3 --repeats 8)
    step=(--steps 6 --variants fp32 tf32 bf16 bf16+hungarian tf32+deterministic)
    compiled=(--variants bf16 bf16+layers --batches 4 --steps 6) # the criterion alone would compile for 2 minutes
    resume=(trainer.accelerator=gpu trainer.devices=1)
    export CUBLAS_WORKSPACE_CONFIG=:4096:8 # what deterministic algorithms need
fi

run() { # run TITLE SECONDS COMMAND...: runs the command and writes its end into the report
    local title=$1 seconds=$2 start=$SECONDS status=0
    shift 2
    [ -z "$rehearse" ] || seconds=$((10 * seconds)) # how fast a rehearsal is does not matter
    echo "== $title"
    timeout "$seconds" "$@" >"$output/$title.log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || failed=1
    {
        printf '\n## %s\n\n' "$title"
        printf '`%s`: exit status %d after %d s (limit %d s)\n\n```\n' "$*" "$status" $((SECONDS - start)) "$seconds"
        tail -n 60 "$output/$title.log"
        printf '```\n'
    } >>"$report"
    echo "exit status $status after $((SECONDS - start)) s"
    tail -n 3 "$output/$title.log"
}

run_part() {
    case $1 in
        tests) run tests 100 "$python" -m pytest -q "${tests[@]}" ;;
        rates) run rates 30 "$python" -m benchmarks.memory_rates "${rates[@]}" --output "$output/rates.csv" ;;
        operator) run operator 50 "$python" -m benchmarks.matrix "${operator[@]}" --peer "${operators[@]}" \
            --distributions spread --output "$output/operator.csv" --figure "$output/operator.png" ;;
        launches) run launches 90 "$python" -m benchmarks.launches "${launches[@]}" --output "$output/launches.csv" ;;
        step) run step 90 "${step_speed[@]}" "${step[@]}" --peer "${peers[@]}" --output "$output/step.csv" ;;
        compiled) run compiled 150 "${step_speed[@]}" "${compiled[@]}" --output "$output/compiled.csv" ;;
        resume) run resume 60 "$python" scripts/resume/kill_and_continue.py --random 3 "${resume[@]}" \
            trainer.deterministic=true ;;
    esac
}

printf '# GPU check%s, %s\n' "${rehearse:+ (rehearsal on a CPU)}" "$(date -u '+%Y-%m-%d %H:%M UTC')" >"$report"
rm -f "$output"/*.csv "$output"/profile.txt # of an earlier run
run machine 30 "$python" -c '
import sys, torch, triton
print("torch", torch.__version__, "triton", triton.__version__, "CUDA", torch.version.cuda)
if sys.argv[1] == "cuda":
    print(torch.cuda.get_device_properties(0))' "$device"
[ "$failed" -eq 0 ] || exit 1
for part in "${parts[@]}"; do
    run_part "$part"
done
echo "report: $report"
exit "$failed"
