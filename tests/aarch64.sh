#!/usr/bin/env bash
# Python and numpy for Linux on aarch64 in the folder that is given, to run under qemu-user.
# Debian packages are unpacked there with an apt state of their own: the system stays as it is.
set -euo pipefail
root=$(realpath -m "$1")
python=$2
[ -f "$root/ready" ] && exit 0
rm -rf "$root"
mkdir -p "$root/apt/lists/partial" "$root/apt/archives/partial" "$root/files/site"
options=(
    -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o APT::Sandbox::User=root
    -o "Dir::State=$root/apt" -o Dir::State::status=/dev/null -o "Dir::Cache=$root/apt"
)
apt-get "${options[@]}" update -qq
(
    cd "$root/apt/archives"
    apt-get "${options[@]}" download -qq libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libssl3 \
        libbz2-1.0 liblzma5 libffi8 libpython3.11-minimal libpython3.11-stdlib python3.11-minimal
    for package in *.deb; do dpkg-deb -x "$package" "$root/files"; done
)
numpy=$("$python" -c 'import numpy; print(numpy.__version__)')
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 311 --platform manylinux2014_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux_2_28_aarch64 --dest "$root/wheels" "numpy==$numpy"
"$python" -m zipfile -e "$root"/wheels/*.whl "$root/files/site"
rm -rf "$root/apt" "$root/wheels"
touch "$root/ready"
