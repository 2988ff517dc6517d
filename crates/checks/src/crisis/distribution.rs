//! Which package manager a machine has, by what its distribution calls itself, and what it says to install.

use observe::{Recording, catalog};

/// A package manager, in the order in which names of packages are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Debian, Ubuntu and what comes of them.
    Apt,
    /// Fedora, RHEL and its rebuilds, Amazon Linux.
    Dnf,
    /// SUSE and openSUSE.
    Zypper,
    /// Alpine.
    Apk,
    /// Arch.
    Pacman,
}

/// Words of `ID` and `ID_LIKE` in os-release, the manager of each. Source: freedesktop.org os-release(5) and the files of the
/// distributions.
const KNOWN: &[(&str, Manager)] = &[
    ("debian", Manager::Apt),
    ("ubuntu", Manager::Apt),
    ("fedora", Manager::Dnf),
    ("rhel", Manager::Dnf),
    ("centos", Manager::Dnf),
    ("amzn", Manager::Dnf),
    ("suse", Manager::Zypper),
    ("opensuse", Manager::Zypper),
    ("sles", Manager::Zypper),
    ("alpine", Manager::Apk),
    ("arch", Manager::Pacman),
];

/// What is installed how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// Its package manager.
    pub manager: Manager,
    /// Whether it is Ubuntu or comes of it: tools that belong to a kernel are packaged by the kernel's release there.
    pub ubuntu: bool,
}

impl Distribution {
    /// By the words of `ID` and `ID_LIKE`, the nearest first: `linuxmint ubuntu debian`.
    pub fn of(ids: &str) -> Option<Self> {
        let words = || ids.split_ascii_whitespace();
        let known = |word: &str| {
            KNOWN.iter().find(|(id, _)| word == *id || word.strip_prefix(id).is_some_and(|rest| rest.starts_with('-')))
        };
        let (_, manager) = words().find_map(known)?;
        Some(Distribution { manager: *manager, ubuntu: words().any(|word| word == "ubuntu") })
    }

    /// The distribution of the machine that a recording is of.
    pub fn here(rec: &Recording) -> Option<Self> {
        let facts = rec.get(&catalog::HOST_FACT).unwrap_or_default();
        Distribution::of(&facts.iter().find(|fact| fact.labels.get("name") == "os.id")?.value)
    }
}

impl Manager {
    /// Every one, in order.
    pub const ALL: [Manager; 5] = [Manager::Apt, Manager::Dnf, Manager::Zypper, Manager::Apk, Manager::Pacman];

    /// The command that installs packages, without their names.
    pub fn install(self) -> &'static str {
        match self {
            Manager::Apt => "apt install",
            Manager::Dnf => "dnf install",
            Manager::Zypper => "zypper install",
            Manager::Apk => "apk add",
            Manager::Pacman => "pacman -S",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_have_the_manager_of_what_they_are_like() {
        for (ids, manager, ubuntu) in [
            ("debian", Manager::Apt, false),
            ("ubuntu debian", Manager::Apt, true),
            ("linuxmint ubuntu debian", Manager::Apt, true),
            ("raspbian debian", Manager::Apt, false),
            ("rocky rhel centos fedora", Manager::Dnf, false),
            ("amzn fedora", Manager::Dnf, false),
            ("opensuse-leap suse opensuse", Manager::Zypper, false),
            ("sles", Manager::Zypper, false),
            ("alpine", Manager::Apk, false),
            ("manjaro arch", Manager::Pacman, false),
        ] {
            assert_eq!(Distribution::of(ids), Some(Distribution { manager, ubuntu }), "{ids}");
        }
        for unknown in ["", "gentoo", "archaic", "nixos"] {
            assert_eq!(Distribution::of(unknown), None, "{unknown}");
        }
    }
}
