#!/usr/bin/env bash
# Runs tests for CUDA without a GPU; the arguments are cargo test's. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
ops=$here/../../..
workspace=$ops/../..
target=${CARGO_TARGET_DIR:-$workspace/target}
build=$target/cuda-driver
mkdir -p "$build/candle" "$build/lib"

candle=$(cargo metadata --format-version 1 --manifest-path "$workspace/Cargo.toml" --features selfie-ops/cuda |
    grep -o '[^"]*candle-kernels-[^"]*/Cargo.toml' | head -1)
# A copy, whose compatibility.cuh is ours: it is read from beside the file that includes it.
cp "$(dirname "$candle")"/src/*.cu "$(dirname "$candle")"/src/*.cuh "$build/candle/"
chmod u+w "$build"/candle/*
cp "$here/stubs/compatibility.cuh" "$build/candle/"
sed -i 's/#include<cmath>//' "$build/candle/cuda_utils.cuh"

compile() { # library, source, further arguments
    local library=$1 source=$2
    shift 2
    c++ -std=c++17 -O2 -w -fPIC -shared -fpermissive -I"$here" -I"$here/stubs" -I"$build" "$@" -o "$build/$library.so" "$source"
}

# Kernels with barriers: their threads have stacks of their own.
barriers=' moments norm_of_moments norm_backward_sums norm_backward_line layer_norm layer_norm_backward layer_norm_sums column_sums
 join_sums cross_entropy mean_of_all attention attention_backward_queries attention_backward_tokens sums_of_squares '
table() { # kernel names on standard input
    while read -r name; do
        base=${name%_single}
        base=${base%_wide}
        plain=true
        case $barriers in *[[:space:]]"$base"[[:space:]]*) plain=false ;; esac
        echo "{\"$name\", wrap($name, $plain)},"
    done
}
cat "$ops"/src/cuda/kernels/*.cu | grep -v '##\|void name(' | sed 's/__launch_bounds__(1024) //' | sed -nE \
    -e 's/^FOR_PACKS\((\w+).*/\1_single \1_wide/p' -e 's/^RULE\((\w+).*/\1/p' -e 's/.*__global__ void (\w+).*/\1/p' |
    tr ' ' '\n' | table >"$build/ours.inc"
purpose=-DPURPOSE_DROPOUT=$(grep -o 'Dropout = [0-9]*' "$workspace/crates/selfie-random/src/stream.rs" | grep -o '[0-9]*')u
for sum in float double; do
    compile "ours_$sum" "$here/ours.cpp" "$purpose" "-DSUM=$sum"
    compile "ours_${sum}_bf16" "$here/ours.cpp" "$purpose" "-DSUM=$sum" -DSTORED_BF16
done
for file in affine binary cast fill indexing reduce ternary unary; do
    # Once to learn the kernels' names, once with a table of them.
    : >"$build/candle.inc"
    compile "candle_$file" "$here/candle.cpp" -D__CUDA_ARCH__=0 "-DKERNELS=\"candle/$file.cu\""
    plain=true
    [ "$file" = reduce ] && plain=false
    nm -D --defined-only "$build/candle_$file.so" | awk '$2 == "T" && $3 !~ /^_Z|find_kernel/ {print $3}' |
        sed "s/.*/{\"&\", wrap(&, $plain)},/" >"$build/candle.inc"
    compile "candle_$file" "$here/candle.cpp" -D__CUDA_ARCH__=0 "-DKERNELS=\"candle/$file.cu\""
done
compile candle_bf16 "$here/bf16.cpp"
c++ -std=c++17 -O2 -w -fPIC -shared -fvisibility=hidden -o "$build/lib/libcuda.so.1" "$here/driver.cpp" -ldl
cd "$workspace"
cargo=(cargo test --release --package selfie-ops --package selfie-model --package selfie-train
    --features selfie-ops/cuda,selfie-model/cuda,selfie-train/cuda)
tests=$("${cargo[@]}" --no-run --message-format=json --test ops --test model --test loops |
    grep -o '"executable":"[^"]*"' | cut -d'"' -f4)
# Whatever versions of the libraries the tests were linked with.
for library in $(for test in $tests; do readelf -d "$test"; done | grep -oE 'lib(cublas|curand|nvrtc)\.so\.[0-9]+' | sort -u); do
    ln -sfn libcuda.so.1 "$build/lib/$library"
done
# CUDA's runtime is the toolkit's own: it asks nothing of the driver before it is used.
toolkit=${CUDA_HOME:-/usr/local/cuda}
export SELFIE_FAKE_CUDA=$build LD_LIBRARY_PATH=$build/lib:$toolkit/lib64:$toolkit/lib SELFIE_TEST_DEVICE=cuda
exec "${cargo[@]}" "$@" -- --test-threads 1
