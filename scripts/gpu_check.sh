#!/usr/bin/env bash
# Checks and measures the CUDA path on the machine at hand, in less than 8 minutes.
#
#   scripts/gpu_check.sh [OUTPUT_FOLDER]               # default: runs/gpu_check
#   scripts/gpu_check.sh --rehearse [OUTPUT_FOLDER]    # without a GPU: the same steps, tiny, kernels interpreted
#
# Needs a CUDA device and an environment with the project's packages (PYTHON=path/to/python to choose one); the
# project itself need not be installed. Writes report.md and measurements.csv. Every step has a time limit, together
# 460 s, and its failure does not stop the others; the exit status is 1 if any failed.
set -u
cd "$(dirname "$0")/.."
rehearse=
if [ "${1:-}" = --rehearse ]; then
    rehearse=1
    shift
fi
output=${1:-runs/gpu_check}
python=${PYTHON:-python3}
[ -x .venv/bin/python ] && [ -z "${PYTHON:-}" ] && python=.venv/bin/python
export PYTHONPATH="src:kernels:.${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 MPLBACKEND=agg
mkdir -p "$output"
report=$output/report.md
failed=0

if [ -n "$rehearse" ]; then
    export TRITON_INTERPRET=1
    device=cpu
    tests=(tests/kernels/interpreted.py -k "twin or benchmark")
    rates=(--device cpu --programs 2 --repeats 2)
    speed=(--device cpu --shapes D2 --dtypes float32 --rounds 2 --repeats 1)
    training=(trainer.accelerator=cpu trainer.limit_train_batches=2 trainer.limit_val_batches=1)
else
    device=cuda
    tests=(-m gpu tests/kernels tests/golden/test_models.py)
    rates=(--repeats 20)
    speed=(--shapes E1 D1 --dtypes float32 bfloat16 --rounds 3 --repeats 10)
    training=(trainer.accelerator=gpu trainer.limit_train_batches=40 trainer.limit_val_batches=5 compile=true)
fi

step() { # step TITLE SECONDS COMMAND...: runs the command and writes its end into the report
    local title=$1 seconds=$2 start=$SECONDS status=0
    shift 2
    [ -z "$rehearse" ] || seconds=$((10 * seconds)) # how fast a rehearsal is does not matter
    echo "== $title"
    timeout "$seconds" "$@" >"$output/step.log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || failed=1
    {
        printf '\n## %s\n\n' "$title"
        printf '`%s`: exit status %d after %d s (limit %d s)\n\n```\n' "$*" "$status" $((SECONDS - start)) "$seconds"
        tail -n 60 "$output/step.log"
        printf '```\n'
    } >>"$report"
    tail -n 3 "$output/step.log"
}

printf '# GPU check%s, %s\n' "${rehearse:+ (rehearsal on a CPU)}" "$(date -u '+%Y-%m-%d %H:%M UTC')" >"$report"
rm -f "$output"/{rates,matrix,measurements}.csv # of an earlier run
step "Machine" 30 "$python" -c '
import sys, torch, triton
print("torch", torch.__version__, "triton", triton.__version__, "CUDA", torch.version.cuda)
if sys.argv[1] == "cuda":
    print(torch.cuda.get_device_properties(0))' "$device"
[ "$failed" -eq 0 ] || exit 1
step "Kernel tests" 150 "$python" -m pytest -q "${tests[@]}"
step "Gather and reduction rates" 45 "$python" -m benchmarks.memory_rates "${rates[@]}" --output "$output/rates.csv"
step "Speed" 90 "$python" -m benchmarks.matrix "${speed[@]}" --distributions spread \
    --output "$output/matrix.csv" --figure "$output/matrix.png"
step "Short training, bfloat16" 135 "$python" -c 'from deta.cli import main; main()' \
    train experiment=deta_shapes trainer.devices=1 trainer.precision=bf16-mixed trainer.max_epochs=1 "${training[@]}" \
    logger=file hydra.run.dir="$output/training"
step "All measurements in one file" 10 "$python" -c '
import csv, sys
from pathlib import Path
from benchmarks.timing import write_csv
folder = Path(sys.argv[1])
rows = []
for name in ("rates", "matrix"):
    path = folder / f"{name}.csv"
    if path.exists():
        rows += [{"benchmark": name, **row} for row in csv.DictReader(path.open())]
        path.unlink()
write_csv(folder / "measurements.csv", rows)
print(len(rows), "rows")' "$output"
rm -f "$output/step.log"
echo "report: $report"
exit "$failed"
