#!/bin/sh
# Installs the tools that a performance crisis needs, with this distribution's own package manager. Does nothing else.
# ./install-crisis-tools.sh --list only says what it would install.
set -u

if command -v apt-get >/dev/null; then
  install='apt-get install -y --no-install-recommends'
  packages='@apt@'
  # Ubuntu and what comes of it package the kernel's tools by its release.
  if grep -Eqs '^ID(_LIKE)?=.*ubuntu' /etc/os-release; then packages="@ubuntu@"; fi
elif command -v dnf >/dev/null; then
  install='dnf install -y'
  packages='@dnf@'
elif command -v zypper >/dev/null; then
  install='zypper --non-interactive install'
  packages='@zypper@'
elif command -v apk >/dev/null; then
  install='apk add'
  packages='@apk@'
elif command -v pacman >/dev/null; then
  install='pacman -S --noconfirm --needed'
  packages='@pacman@'
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
