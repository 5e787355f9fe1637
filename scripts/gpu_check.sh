#!/bin/bash
# All that needs a CUDA GPU, in under 9 minutes, from a checkout with torch installed: the tests of `pytest -m gpu`, the loss
# benchmark and the training benchmark, whose figures go to benchmarks/*-cuda.{json,md}. Pure-Python packages that are
# missing may lie in a folder that PYTHONPATH names.
#
#   scripts/gpu_check.sh                     everything
#   scripts/gpu_check.sh tests               one part: tests, loss or train
#   scripts/gpu_check.sh --suite=cifar --minutes=8 data.path=cifar100.npz
#                                            resnet56 -> resnet20 by KD as published, 240 epochs each, in as many calls as
#                                            it takes: each goes on where the one before ended, and ends with status 143
#                                            until the last; settings of train.py may follow
#   DEVICE=cpu OUT=DIR scripts/gpu_check.sh  the same without a GPU, as far as it goes
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD:$PWD/scripts${PYTHONPATH:+:$PYTHONPATH}"
device=${DEVICE:-cuda} out=${OUT:-benchmarks} status=0
suite=all minutes=8 parts=()
for given in "$@"; do
    case $given in
    --suite=*) suite=${given#*=} ;;
    --minutes=*) minutes=${given#*=} ;;
    *) parts+=("$given") ;;
    esac
done
if [ "$suite" != all ] && [ "$suite" != cifar ]; then
    echo "error: --suite=$suite: is none of all, cifar" >&2
    exit 2
fi

if [ "$device" = cuda ] && ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "error: torch sees no CUDA GPU; DEVICE=cpu tries the script without one" >&2
    exit 2
fi

if [ "$suite" = cifar ]; then
    # The signal lets the step be finished and a checkpoint be written, for the next call.
    timeout --signal=TERM "${minutes}m" python train.py experiment=cifar100 resume=auto checkpoint.every_minutes=1 \
        hydra.run.dir="$out/cifar" "${parts[@]}"
    status=$?
    [ $status -ne 124 ] || status=143 # timeout's own word for a run that it has ended
    exit $status
fi
[ ${#parts[@]} -gt 0 ] || parts=(tests loss train)

part() { # SECONDS NAME COMMAND...: ends the command after so many seconds, and goes on with the next part
    local limit=$1 name=$2 began=$SECONDS
    shift 2
    echo "== $name"
    timeout "$limit" "$@" || { echo "== $name: ended with status $? after $((SECONDS - began)) s" >&2; status=1; }
}

for name in "${parts[@]}"; do
    case $name in
    tests) part 180 tests python -m pytest -q -p no:cacheprovider -n 0 -m gpu ;;
    loss)
        sizes=()
        [ "$device" = cuda ] || sizes=(--seconds 0.2)
        part 150 loss python scripts/benchmark.py loss --device "$device" --out "$out" --seconds 10 "${sizes[@]}"
        ;;
    train)
        for pair in "resnet56 resnet20" "resnet32x4 resnet8x4"; do
            read -r teacher student <<<"$pair"
            folder=$out
            [ "$teacher" = resnet56 ] || folder=$out/$teacher # each pair has its own files
            steps=(--steps 100 --epochs 1 --rounds 1 --starts 0)
            [ "$device" = cuda ] || steps=(--steps 6 --batch-size 8 --epochs 1 --rounds 1 --starts 0)
            part 100 "train $teacher $student" python scripts/benchmark.py train --device "$device" --out "$folder" \
                --teacher "$teacher" --student "$student" "${steps[@]}"
        done
        ;;
    *)
        echo "error: $name: is none of tests, loss, train" >&2
        exit 2
        ;;
    esac
done
exit $status
