#!/bin/sh
# Installs the tools that a performance crisis needs, with this distribution's own package manager. Does nothing else.
# ./install-crisis-tools.sh --list only says what it would install.
set -u

if command -v apt-get >/dev/null; then
  perf=linux-perf
  if grep -qs '^ID=ubuntu' /etc/os-release; then perf="linux-tools-common linux-tools-$(uname -r)"; fi
  install='apt-get install -y --no-install-recommends'
  packages="procps util-linux sysstat iproute2 numactl $perf linux-cpupower bpfcc-tools bpftrace trace-cmd nicstat ethtool
    tiptop msr-tools cpuid perf-tools-unstable tcpdump bpftool strace lsof iotop gdb"
elif command -v dnf >/dev/null; then
  install='dnf install -y'
  packages='procps-ng util-linux sysstat iproute numactl perf kernel-tools bcc-tools bpftrace trace-cmd nicstat ethtool
    tiptop msr-tools cpuid tcpdump bpftool strace lsof iotop gdb'
elif command -v zypper >/dev/null; then
  install='zypper --non-interactive install'
  packages='procps util-linux sysstat iproute2 numactl perf cpupower bcc-tools bpftrace trace-cmd nicstat ethtool
    msr-tools cpuid tcpdump bpftool strace lsof iotop gdb'
elif command -v apk >/dev/null; then
  install='apk add'
  packages='procps util-linux sysstat iproute2 numactl-tools perf bcc-tools bpftrace trace-cmd ethtool tcpdump bpftool
    strace lsof iotop gdb'
elif command -v pacman >/dev/null; then
  install='pacman -S --noconfirm --needed'
  packages='procps-ng util-linux sysstat iproute2 numactl perf turbostat bcc-tools bpftrace trace-cmd ethtool msr-tools
    cpuid tcpdump bpf strace lsof iotop gdb'
else
  echo 'none of apt-get, dnf, zypper, apk and pacman is here: install the tools that README names by hand' >&2
  exit 1
fi

if [ "${1:-}" = --list ]; then
  for package in $packages; do echo "$package"; done
  exit 0
fi
if [ "$(id -u)" != 0 ]; then
  echo 'run this as root: it installs packages' >&2
  exit 1
fi

# One by one, so that a package that this release does not have stops none of the others.
lacking=
for package in $packages; do
  echo "installing $package"
  # shellcheck disable=SC2086 # a list of words
  $install "$package" </dev/null || lacking="$lacking $package"
done
if [ -n "$lacking" ]; then
  echo "not to be had here:$lacking" >&2
  exit 1
fi
