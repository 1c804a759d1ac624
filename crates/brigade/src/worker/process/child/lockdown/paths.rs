//! Granted paths and ports, by Landlock: landlock(7). It also keeps signals and abstract sockets
//! within, where the kernel's version does that. What it knows no right for (metadata, sockets of
//! other kinds, memory) is for the filter.

#![expect(unsafe_code, reason = "a system call that asks for a number")]

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use crate::sandbox::Rules;
use crate::sys::error::Call;
use crate::sys::opened;

/// The newest version that this is written for; the kernel may have an older one.
const NEWEST: ABI = ABI::V9;

/// What is granted, looked up.
pub(super) struct Granted(Vec<(OwnedFd, BitFlags<AccessFs>)>);

impl Granted {
    /// Looks the paths up, as this process still may.
    pub(super) fn open(rules: &Rules) -> io::Result<Granted> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = AccessFs::from_write(NEWEST)
            & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::MakeSock)
            & !(AccessFs::IoctlDev | AccessFs::ResolveUnix);
        let execute = read | AccessFs::Execute;
        let mut granted = Vec::new();
        for (paths, access, what) in [
            (&rules.read, read, "read"),
            (&rules.write, write, "write"),
            (&rules.execute, execute, "execute"),
        ] {
            for path in paths {
                let path = Path::new(OsStr::from_bytes(path));
                let opened = opened::file(path, OFlags::PATH)
                    .and_then(|file| {
                        let kind = rustix::fs::fstat(&file).call("fstat(2)")?;
                        Ok((file, FileType::from_raw_mode(kind.st_mode)))
                    })
                    .at(|| format!("cannot grant to {what} {}", path.display()))?;
                let (file, kind) = opened;
                let access = if kind == FileType::Directory {
                    access
                } else {
                    access & AccessFs::from_file(NEWEST)
                };
                granted.push((file, access));
            }
        }
        // What starts a program gives it that, and nothing comes of it.
        let null = (!rules.execute.is_empty()).then(null).flatten();
        if let Some(null) = null {
            granted.push((null, AccessFs::ReadFile | AccessFs::WriteFile));
        }
        Ok(Granted(granted))
    }

    /// Puts it in force for this thread. Gives the version of Landlock; `Err`: why it is not in
    /// force, or not all of it.
    pub(super) fn restrict(&self, rules: &Rules) -> Result<u8, String> {
        const PORTS: i32 = 4;
        let version = match version() {
            Ok(version) => version,
            Err(Errno::OPNOTSUPP) => {
                return Err("Landlock is not enabled in this kernel (lsm=landlock)".to_owned());
            }
            Err(Errno::NOSYS) => {
                return Err(
                    "this kernel has no Landlock, or it is hidden: that takes Linux 5.13"
                        .to_owned(),
                );
            }
            Err(e) => return Err(format!("Landlock is denied: {e}")),
        };
        if version < PORTS && rules.has_ports() {
            return Err(format!(
                "this kernel's Landlock is of version {version}, and knows no ports: that takes Linux 6.7"
            ));
        }
        let status = self.try_restrict(rules);
        let status = status.map_err(|e| format!("Landlock failed: {e}"))?;
        match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => Ok(effective_abi as u8),
            other => Err(format!("Landlock failed: {other:?}")),
        }
    }

    fn try_restrict(&self, rules: &Rules) -> Result<RestrictionStatus, RulesetError> {
        let ports = if rules.has_ports() {
            CompatLevel::HardRequirement
        } else {
            CompatLevel::BestEffort
        };
        // What is granted must hold; the rest is in force as far as the kernel knows it.
        let mut created = Ruleset::default()
            .handle_access(AccessFs::from_all(NEWEST))?
            .scope(Scope::from_all(NEWEST))?
            .set_compatibility(ports)
            .handle_access(AccessNet::from_all(NEWEST))?
            .set_compatibility(CompatLevel::BestEffort)
            .create()?;
        for (file, access) in &self.0 {
            created = created.add_rule(PathBeneath::new(file, *access))?;
        }
        for (ports, access) in [
            (&rules.connect, AccessNet::ConnectTcp),
            (&rules.listen, AccessNet::BindTcp),
        ] {
            for port in ports {
                created = created.add_rule(NetPort::new(*port, access))?;
            }
        }
        created.restrict_self()
    }
}

/// The device that is always empty, if there is one: null(4).
fn null() -> Option<OwnedFd> {
    let file = opened::file("/dev/null", OFlags::PATH).ok()?;
    let of = rustix::fs::fstat(&file).ok()?;
    let is_device = FileType::from_raw_mode(of.st_mode) == FileType::CharacterDevice;
    (is_device && of.st_rdev == rustix::fs::makedev(1, 3)).then_some(file)
}

/// The version of the kernel's Landlock.
fn version() -> Result<i32, Errno> {
    const CREATE_RULESET_VERSION: libc::c_int = 1;
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: asks for a number; no memory is touched.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            none,
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    match i32::try_from(version) {
        Ok(version @ 1..) => Ok(version),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOSYS)),
    }
}
