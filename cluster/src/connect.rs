//! The connection to the servers.

use async_nats::{Client, Event};

use crate::settings::check_name;
use crate::{Error, OLDEST_SERVER, Settings};

/// What servers have to take in one message: inputs and results up to 256 KiB, and what goes with
/// them.
const MESSAGE: usize = 512 * 1024;

/// A connection of a program of this application, to servers that are new enough.
pub(crate) async fn connect(url: &str, app: &str, settings: &Settings) -> Result<Client, Error> {
    check_name(app)?;
    let timeout = settings.request_timeout;
    let urls: Vec<&str> = url.split(',').map(str::trim).collect();
    let failed = |why: String| Error::Connect {
        url: without_password(url),
        why,
    };
    let options = settings.access.options().await;
    let connecting = options
        .map_err(|e| failed(e.to_string()))?
        .name(format!("brigade-cluster {app}"))
        .connection_timeout(timeout)
        .request_timeout(Some(timeout))
        .event_callback(async |event| {
            // Requests that a server does not permit have no answer; here it says so.
            if let Event::ServerError(e) = event {
                tracing::warn!("the server: {e}");
            }
        })
        .connect(&urls[..]);
    // One after another, in any order.
    let timeout = timeout * u32::try_from(urls.len()).unwrap_or(1).max(1);
    let client = match tokio::time::timeout(timeout, connecting).await {
        Ok(connected) => connected.map_err(|e| failed(told(&e)))?,
        Err(_) => return Err(failed(format!("no answer in {timeout:?}"))),
    };
    let version = client.server_info().version;
    if !is_new_enough(&version) {
        return Err(Error::OldServer { found: version });
    }
    let most = client.server_info().max_payload;
    if most < MESSAGE {
        return Err(Error::SmallMessages { most });
    }
    Ok(client)
}

/// An error, and what it stands on.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => {
            format!("{error}: {}", told(source))
        }
        _ => error.to_string(),
    }
}

fn is_new_enough(version: &str) -> bool {
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    // A server whose version is no number is one that its user has built: it is accepted.
    match (numbers(version), numbers(OLDEST_SERVER)) {
        (Some(found), Some(oldest)) => found >= oldest,
        _ => true,
    }
}

fn without_password(urls: &str) -> String {
    let all: Vec<String> = urls.split(',').map(one_without_password).collect();
    all.join(",")
}

fn one_without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        (None, Some((_, host))) => format!("…@{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for new in ["2.12.0", "2.15.1", "3.0.0", "2.12.1-RC.1", "dev"] {
            assert!(is_new_enough(new), "{new}");
        }
        for old in ["2.9.10", "2.11.99", "1.20.0"] {
            assert!(!is_new_enough(old), "{old}");
        }
    }

    #[test]
    fn no_password_is_told() {
        assert_eq!(without_password("nats://u:p@host:1"), "nats://…@host:1");
        assert_eq!(without_password("u:p@host"), "…@host");
        assert_eq!(without_password("nats://host:1"), "nats://host:1");
        assert_eq!(
            without_password("nats://u:p@a,nats://u:p@b"),
            "nats://…@a,nats://…@b"
        );
    }
}
