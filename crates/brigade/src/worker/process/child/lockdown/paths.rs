//! Granted paths and ports, by Landlock: landlock(7). It also keeps signals and abstract sockets
//! within, where the kernel's version does that. What it knows no right for (metadata, sockets of
//! other kinds, memory) is for the filter.

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
        Ok(Granted(granted))
    }

    /// Puts it in force for this thread. Gives the version of Landlock; `Err`: why it is not in
    /// force, or not all of it.
    pub(super) fn restrict(&self, rules: &Rules) -> Result<u8, String> {
        let status = self.try_restrict(rules).map_err(|e| match e {
            RulesetError::HandleAccesses(_) if rules.has_ports() => {
                "this kernel cannot grant ports: that takes Linux 6.7".to_owned()
            }
            other => format!("Landlock failed: {other}"),
        })?;
        match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => Ok(effective_abi as u8),
            LandlockStatus::NotEnabled => {
                Err("Landlock is not enabled in this kernel (lsm=landlock)".to_owned())
            }
            LandlockStatus::NotImplemented => {
                Err("this kernel has no Landlock, or hides it: that takes Linux 5.13".to_owned())
            }
        }
    }

    fn try_restrict(&self, rules: &Rules) -> Result<RestrictionStatus, RulesetError> {
        let ports = if rules.has_ports() {
            CompatLevel::HardRequirement
        } else {
            CompatLevel::BestEffort
        };
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
