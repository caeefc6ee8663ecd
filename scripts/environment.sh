# shellcheck shell=bash
# Sourced by demo.sh and test.sh, in the root of the checkout: a virtual environment in .venv with the package in it.
# PYTHON names the interpreter to make it with (python3 unless set).

PYTHON=${PYTHON:-python3}
VENV_PYTHON=.venv/bin/python

# fail MESSAGE: says it on stderr and ends the script.
fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

# python_minor INTERPRETER: its version as major.minor; non-zero where it does not run.
python_minor() {
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

check_python() {
    local version
    version=$(python_minor "$PYTHON") || fail "no Python as '$PYTHON': install Python 3.10 to 3.13, or name one: PYTHON=python3.12 bash $0"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "Python 3.10 to 3.13 is needed, and '$PYTHON' is $version: install one, or name one: PYTHON=python3.12 bash $0"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "'$PYTHON' has no venv module: install it (Debian and Ubuntu: apt-get install python3-venv, or python$version-venv)"
}

# A .venv that another Python made, or that lost its pip halfway, is made anew.
make_venv() {
    if "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 && [ "$(python_minor "$VENV_PYTHON")" = "$(python_minor "$PYTHON")" ]; then
        return
    fi
    echo "Making .venv with $("$PYTHON" --version 2>&1) ..."
    "$PYTHON" -m venv --clear .venv || fail "could not make .venv with '$PYTHON'"
}

# install NAME REQUIREMENT...: pip installs them once; again only after setup.cfg changed.
install() {
    local stamp=.venv/installed-$1
    shift
    if [ "$stamp" -nt setup.cfg ]; then
        return
    fi
    echo "Installing $* ..."
    "$VENV_PYTHON" -m pip install --quiet --disable-pip-version-check "$@" || fail "pip could not install $* (its message is above)"
    touch "$stamp"
}

# The opencv-python wheels expect two libraries of the system, which small server images leave out.
check_opencv() {
    local message
    if message=$("$VENV_PYTHON" -c 'import cv2' 2>&1); then
        return
    fi
    message=${message##*$'\n'}
    case $message in
        *"cannot open shared object file"*)
            fail "OpenCV misses a system library ($message).
Debian and Ubuntu:  apt-get install libgl1 libglib2.0-0
Fedora and RHEL:    dnf install mesa-libGL glib2"
            ;;
        *) fail "OpenCV cannot be imported: $message" ;;
    esac
}
