//! The user as which a worker in a sandbox goes on: as an ordinary user without capabilities.
//! setresuid(2), capabilities(7).

use std::io;

use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rustix::thread::{Gid, Uid};

use crate::sandbox::Rules;
use crate::sys::error::Call;

/// The user that owns nothing, by convention; and that group.
const NOBODY: (u32, u32) = (65534, 65534);

/// Becomes an ordinary user, where this process is root, and gives up all capabilities. There is
/// one thread.
pub(super) fn give_up(rules: &Rules) -> io::Result<()> {
    let is_root = geteuid().is_root();
    // The fork server has this process's capabilities, and is to be able to end it.
    let may_be_ended =
        || capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::KILL));
    match rules.user {
        Some(_) if !is_root => {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "only a program that is root can give its workers another user",
            ));
        }
        Some(_) if !may_be_ended() => {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the program has no CAP_KILL, without which it could not end a worker of another user",
            ));
        }
        Some(user) => become_user(user).at(|| {
            let (uid, gid) = user;
            format!("cannot become user {uid} of group {gid}")
        })?,
        // Root of a container may not be allowed to, or have no such user. Without capabilities it
        // is an owner of files like another, and what those are worth is for the rules to say.
        None if is_root && may_be_ended() => {
            let _ = become_user(NOBODY);
        }
        None => {}
    }
    // Where there was root before, these would come back with a program that is executed.
    for capability in CapabilitySet::all() {
        let _ = remove_capability_from_bounding_set(capability);
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    // The ambient set is a part of both.
    set_capabilities(None, none)
        .call("capset(2)")
        .needed_to("give up capabilities")
}

fn become_user((uid, gid): (u32, u32)) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[]).call("setgroups(2)")?;
    set_thread_res_gid(gid, gid, gid).call("setresgid(2)")?;
    set_thread_res_uid(uid, uid, uid).call("setresuid(2)")
}
