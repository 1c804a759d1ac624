//! Namespaces, each tried in a program of its own that ends right after.

use super::{Finding, Status};
use crate::helper::{Try, launch};

pub(super) fn look() -> Vec<Finding> {
    vec![report(
        &Try::NAMESPACES.map(|what| (what.name(), attempt(what))),
    )]
}

/// How a namespace can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Had {
    Plainly,
    /// Only inside a user namespace, as programs without privileges do it.
    InUser,
    No(String),
}

fn attempt(what: Try) -> Had {
    match unshare(what, false) {
        Ok(()) => Had::Plainly,
        Err(why) if what == Try::User => Had::No(why),
        Err(why) => match unshare(what, true) {
            Ok(()) => Had::InUser,
            Err(_) => Had::No(why),
        },
    }
}

fn unshare(what: Try, in_user: bool) -> Result<(), String> {
    let mut arguments = vec!["probe".to_owned(), what.name().to_owned()];
    if in_user {
        arguments.push("--in-user".to_owned());
    }
    match launch::run(&arguments) {
        Ok(ended) if ended.status.success() => Ok(()),
        Ok(ended) => {
            let last = ended.stderr.lines().last().unwrap_or("no reason given");
            Err(last.strip_prefix("brigade: ").unwrap_or(last).to_owned())
        }
        Err(reason) => Err(reason.to_string()),
    }
}

fn report(tried: &[(&str, Had)]) -> Finding {
    let those = |wanted: fn(&Had) -> bool| -> Vec<&str> {
        tried
            .iter()
            .filter(|(_, had)| wanted(had))
            .map(|(name, _)| *name)
            .collect()
    };
    let plainly = those(|had| *had == Had::Plainly);
    let in_user = those(|had| *had == Had::InUser);
    let mut found = Vec::new();
    if !plainly.is_empty() {
        found.push(plainly.join(", "));
    }
    if !in_user.is_empty() {
        found.push(format!("inside a user namespace: {}", in_user.join(", ")));
    }
    found.extend(tried.iter().filter_map(|(name, had)| match had {
        Had::No(why) => Some(format!("not {name} ({why})")),
        _ => None,
    }));
    let has = |name: &str| plainly.contains(&name) || in_user.contains(&name);
    let (status, means) = match (has("pid"), has("net"), has("mount")) {
        (true, true, true) => (
            Status::Yes,
            "A sandbox can give a worker a world without other processes, network or files; its descendants die with it.",
        ),
        (false, false, false) => (
            Status::No,
            "A sandbox rests on Landlock and seccomp alone. A container or a setting may forbid namespaces: see \
             kernel.unprivileged_userns_clone and user.max_user_namespaces.",
        ),
        _ => (
            Status::Partly,
            "A sandbox can take some of the world away from a worker, and must refuse to promise the rest.",
        ),
    };
    Finding::new("namespaces", "namespaces", status, found.join("; "), means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_had_and_how_is_told_apart() {
        let all = report(&[
            ("user", Had::Plainly),
            ("pid", Had::InUser),
            ("net", Had::InUser),
            ("mount", Had::InUser),
        ]);
        assert_eq!(all.status, Status::Yes);
        assert_eq!(all.found, "user; inside a user namespace: pid, net, mount");
        let none = report(&[
            ("user", Had::No("EPERM".into())),
            ("pid", Had::No("EPERM".into())),
        ]);
        assert_eq!(none.status, Status::No);
        assert_eq!(none.found, "not user (EPERM); not pid (EPERM)");
        let some = report(&[
            ("pid", Had::Plainly),
            ("net", Had::No("ENOSYS".into())),
            ("mount", Had::Plainly),
        ]);
        assert_eq!(some.status, Status::Partly);
    }
}
