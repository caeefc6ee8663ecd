#!/usr/bin/env bash
# On a Jetson: checks what JetPack brings, makes .venv with it, and builds the engines. A second run does nothing.
#     bash scripts/jetson_first_run.sh [FOLDER]      the engines go to FOLDER (networks/jetson)
# PYTHON names the system's interpreter (python3), CUDA_HOME the toolkit (/usr/local/cuda).
# DARKSTREAM_CONTAINER=1: in the image of docker/Dockerfile.jetson, which has .venv already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/environment.sh
. scripts/environment.sh

FOLDER=${1:-networks/jetson}
CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}
MODELS=(models/person_detector.onnx models/edge_coco_256x192.onnx)

# Prints the release of Jetson Linux, as 36.4.0.
jetson_linux() {
    local file=${NV_TEGRA_RELEASE:-/etc/nv_tegra_release} release
    [ -r "$file" ] || fail "no $file: this is not a Jetson with JetPack 6 or 7"
    release=$(sed -n 's/^# R\([0-9]*\) (release), REVISION: \([0-9.]*\),.*/\1.\2/p' "$file" | head -n 1)
    case $release in
        36.* | 38.* | 39.*) echo "$release" ;;
        *) fail "Jetson Linux 36 (JetPack 6), 38 or 39 (JetPack 7) is needed, and $file says '$release'" ;;
    esac
}

# Prints the version of the system's TensorRT.
system_tensorrt() {
    local version
    version=$("$PYTHON" -c 'import tensorrt; print(tensorrt.__version__)' 2>/dev/null) ||
        fail "'$PYTHON' cannot import tensorrt: apt-get install nvidia-jetpack (or python3-libnvinfer)"
    "$PYTHON" -c "import sys; sys.exit(tuple(map(int, '$version'.split('.')[:2])) < (10, 3))" ||
        fail "TensorRT 10.3 or later is needed, and JetPack's is $version"
    echo "$version"
}

check_system_opencv() {
    "$PYTHON" -c 'import cv2' 2>/dev/null || fail "'$PYTHON' has no OpenCV: apt-get install python3-opencv"
    "$PYTHON" -c 'import cv2, sys
from pipeline.gstreamer import has_gstreamer
sys.exit(not has_gstreamer(cv2.getBuildInformation()))' ||
        fail "$("$PYTHON" -c 'import cv2; print(cv2.__file__)') has no GStreamer: pip uninstall opencv-python, and apt-get install python3-opencv"
    local element
    for element in nvarguscamerasrc nvv4l2decoder nvvidconv; do
        gst-inspect-1.0 --exists "$element" 2>/dev/null ||
            echo "note: GStreamer has no $element, so csi:// or --hw-decode will not work (gstreamer1.0-tools, nvidia-l4t-gstreamer)"
    done
}

# A .venv that does not see the system's packages is made anew.
make_system_venv() {
    if "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 && [ "$(python_minor "$VENV_PYTHON")" = "$(python_minor "$PYTHON")" ] &&
        grep -qi '^include-system-site-packages *= *true' .venv/pyvenv.cfg; then
        return
    fi
    echo "Making .venv with $("$PYTHON" --version 2>&1) and the system's packages ..."
    "$PYTHON" -m venv --clear --system-site-packages .venv || fail "could not make .venv with '$PYTHON'"
}

# pycuda is compiled against the system's CUDA; the system's OpenCV needs numpy 1.
install_packages() {
    local cuda
    cuda=$("$CUDA_HOME/bin/nvcc" --version | sed -n 's/.*release \([0-9]*\)\..*/\1/p') ||
        fail "no $CUDA_HOME/bin/nvcc: apt-get install nvidia-jetpack, or name the toolkit: CUDA_HOME=/usr/local/cuda-12.6"
    PATH=$CUDA_HOME/bin:$PATH install jetson -e ".[jetson,serve]" "numpy>=1.26,<2" "cuda-bindings>=12.6,==$cuda.*"
}

check_venv_opencv() {
    local place
    place=$("$VENV_PYTHON" -c 'import cv2; print(cv2.__file__)') || fail ".venv cannot import the system's OpenCV (its message is above)"
    case $place in
        "$PWD"/.venv/*) fail "$place hides the system's OpenCV: .venv/bin/pip uninstall opencv-python opencv-python-headless" ;;
    esac
}

# engine_of MODEL: the file that is built of it.
engine_of() {
    echo "$FOLDER/$(basename "$1" .onnx).engine"
}

# Everything that an engine depends on, as one word: release and TensorRT of the device, its model, networks, builder.
engines_key() {
    {
        printf '%s\n' "$1" "$2"
        cat /proc/device-tree/model 2>/dev/null || true
        sha256sum "${MODELS[@]}" apps/build_engine.py engines/*.py scripts/jetson_first_run.sh
    } | sha256sum | cut -d ' ' -f 1
}

build_engines() {
    local key=$1 model missing=0
    for model in "${MODELS[@]}"; do
        [ -s "$(engine_of "$model")" ] || missing=1
    done
    if [ "$missing" = 0 ] && [ "$(cat "$FOLDER/key" 2>/dev/null)" = "$key" ]; then
        echo "The engines in $FOLDER are up to date."
        return
    fi
    mkdir -p "$FOLDER" 2>/dev/null || fail "$FOLDER cannot be written"
    rm -f "$FOLDER/key"
    for model in "${MODELS[@]}"; do
        echo "Building $(engine_of "$model"): this takes minutes, once ..."
        "$VENV_PYTHON" apps/build_engine.py "$model" --runtime tensorrt --input frame --precision fp16 \
            --out "$(engine_of "$model")" || fail "the engine could not be built (the message is above)"
    done
    echo "$key" >"$FOLDER/key"
}

release=container
if [ "${DARKSTREAM_CONTAINER:-}" != 1 ]; then
    release=$(jetson_linux)
    check_python
fi
tensorrt=$(system_tensorrt)
check_system_opencv
echo "Jetson Linux: $release, TensorRT: $tensorrt"
if [ "${DARKSTREAM_CONTAINER:-}" != 1 ]; then
    make_system_venv
    install_packages
fi
check_venv_opencv
build_engines "$(engines_key "$release" "$tensorrt")"
cat <<TEXT

Ready. The camera at the first CSI connector, or a network camera decoded in hardware:

  .venv/bin/python apps/webcam.py --detector $(engine_of "${MODELS[0]}") --pose $(engine_of "${MODELS[1]}") --source csi://0
  .venv/bin/python apps/webcam.py --detector $(engine_of "${MODELS[0]}") --pose $(engine_of "${MODELS[1]}") \\
      --source rtsp://HOST/PATH --hw-decode --headless --json poses.jsonl
TEXT
