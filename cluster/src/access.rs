//! As whom a program connects, and how it knows the servers.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;

/// As whom a program connects, and by which certificates it knows the servers; part of its
/// [`Settings`](crate::Settings::access). Each program, or role, has its own.
///
/// Files are read when it connects. A user and a password may be in the URL, too:
/// `nats://user:password@host`, or `tls://…`, which needs TLS.
///
/// # Examples
/// ```
/// use brigade_cluster::{Access, Settings};
///
/// let access = Access::default()
///     .credentials_file("/etc/thumbs/worker.creds")
///     .root_certificates("/etc/thumbs/ca.pem")
///     .require_tls()
///     .inbox_prefix("_INBOX_worker");
/// let settings = Settings::default().access(access);
/// ```
#[derive(Clone, Default)]
pub struct Access {
    user: Option<(String, Password)>,
    nkey: Option<PathBuf>,
    credentials: Option<PathBuf>,
    roots: Vec<PathBuf>,
    certificate: Option<(PathBuf, PathBuf)>,
    needs_tls: bool,
    inbox: Option<String>,
}

#[derive(Clone)]
enum Password {
    Given(String),
    In(PathBuf),
}

impl Access {
    /// A user and a password.
    pub fn user_and_password(mut self, user: &str, password: &str) -> Access {
        self.user = Some((user.to_owned(), Password::Given(password.to_owned())));
        self
    }

    /// A user, and a file that has the password in its first line.
    pub fn user_and_password_file(mut self, user: &str, file: impl AsRef<Path>) -> Access {
        let file = file.as_ref().to_owned();
        self.user = Some((user.to_owned(), Password::In(file)));
        self
    }

    /// A file that has the seed of an NKey in its first line: `SU…`.
    pub fn nkey_file(mut self, file: impl AsRef<Path>) -> Access {
        self.nkey = Some(file.as_ref().to_owned());
        self
    }

    /// A file of credentials, which has a JWT and the seed of its NKey, as `nsc` writes them.
    pub fn credentials_file(mut self, file: impl AsRef<Path>) -> Access {
        self.credentials = Some(file.as_ref().to_owned());
        self
    }

    /// A file of certificates, in PEM, by one of which the servers have to be certified; the
    /// system's count beside it.
    pub fn root_certificates(mut self, file: impl AsRef<Path>) -> Access {
        self.roots.push(file.as_ref().to_owned());
        self
    }

    /// The program's own certificate and its key, in PEM, where servers ask for one.
    pub fn client_certificate(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Access {
        self.certificate = Some((certificate.as_ref().to_owned(), key.as_ref().to_owned()));
        self
    }

    /// Refuses servers without TLS.
    ///
    /// *Default: TLS is used where a server asks for it, where the URL is `tls://`, or where
    /// certificates are named here.*
    pub fn require_tls(mut self) -> Access {
        self.needs_tls = true;
        self
    }

    /// What the subjects of answers to this program begin with. Where each user may subscribe to
    /// nothing but its own, no one reads another's answers.
    ///
    /// *Default: `_INBOX`.*
    pub fn inbox_prefix(mut self, prefix: &str) -> Access {
        self.inbox = Some(prefix.to_owned());
        self
    }

    pub(crate) async fn options(&self) -> io::Result<ConnectOptions> {
        let mut options = ConnectOptions::new();
        if let Some(file) = &self.credentials {
            let credentials = read(file)?;
            options = options
                .credentials(&credentials)
                .map_err(|e| of(file, &e))?;
        }
        if let Some(file) = &self.nkey {
            options = options.nkey(first_line(file)?);
        }
        if let Some((user, password)) = &self.user {
            let password = match password {
                Password::Given(password) => password.clone(),
                Password::In(file) => first_line(file)?,
            };
            options = options.user_and_password(user.clone(), password);
        }
        for file in &self.roots {
            // The client's own words for one that is missing do not name it.
            read(file)?;
            options = options.add_root_certificates(file.clone());
        }
        if let Some((certificate, key)) = &self.certificate {
            read(certificate)?;
            read(key)?;
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let has_certificates = !self.roots.is_empty() || self.certificate.is_some();
        if self.needs_tls || has_certificates {
            options = options.require_tls(true);
        }
        if let Some(prefix) = &self.inbox {
            options = options.custom_inbox_prefix(prefix);
        }
        Ok(options)
    }
}

fn read(file: &Path) -> io::Result<String> {
    std::fs::read_to_string(file).map_err(|e| of(file, &e))
}

fn first_line(file: &Path) -> io::Result<String> {
    let text = read(file)?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

fn of(file: &Path, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("{}: {why}", file.display()))
}

/// Without passwords and keys.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("user", &self.user.as_ref().map(|(user, _)| user))
            .field("nkey", &self.nkey)
            .field("credentials", &self.credentials)
            .field("roots", &self.roots)
            .field("certificate", &self.certificate)
            .field("needs_tls", &self.needs_tls)
            .field("inbox", &self.inbox)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_told() {
        let access = Access::default().user_and_password("me", "secret");
        let told = format!("{access:?}");
        assert!(told.contains("me") && !told.contains("secret"), "{told}");
    }

    #[tokio::test]
    async fn files_that_are_missing_are_named() {
        let file = "/absent/file";
        for access in [
            Access::default().nkey_file(file),
            Access::default().credentials_file(file),
            Access::default().user_and_password_file("me", file),
            Access::default().root_certificates(file),
            Access::default().client_certificate(file, file),
        ] {
            let why = access.options().await.unwrap_err().to_string();
            assert!(why.contains(file), "{why}");
        }
    }
}
