//! Where the kernel's files are: parameters, so that tests feed fake trees.

use std::path::PathBuf;

/// The directories and files through which the kernel is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// procfs.
    pub proc: PathBuf,
    /// sysfs.
    pub sys: PathBuf,
    /// The kernel's own type information.
    pub btf: PathBuf,
}

impl Roots {
    /// Where a kernel shows its own type information.
    pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
}

impl Default for Roots {
    fn default() -> Self {
        Roots { proc: "/proc".into(), sys: "/sys".into(), btf: Self::KERNEL_BTF.into() }
    }
}
