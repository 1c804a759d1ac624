//! The words of the command line.

use brigade_cluster::{Access, Error, Purge, Settings, Status, make};

/// In which form a status is wanted.
enum Form {
    Text,
    Json,
    Pending,
}

enum What {
    Status(Form),
    Make { build: Option<String> },
    Purge { results: bool },
}

pub(crate) struct Command {
    url: String,
    app: String,
    settings: Settings,
    what: What,
}

impl Command {
    /// `None`: that is none.
    pub(crate) fn of(words: &[&str]) -> Option<Command> {
        let (&[command, url, app], options) = words.split_first_chunk::<3>()?;
        let mut what = match command {
            "status" => What::Status(Form::Text),
            "make" => What::Make { build: None },
            "purge" => What::Purge { results: false },
            _ => return None,
        };
        let mut settings = Settings::default();
        let mut access = Access::default();
        let (mut user, mut password) = (None, None);
        let (mut certificate, mut key) = (None, None);
        let mut options = options.iter().copied();
        while let Some(option) = options.next() {
            let mut value = || options.next();
            match (option, &mut what) {
                ("--json", What::Status(form)) => *form = Form::Json,
                ("--pending", What::Status(form)) => *form = Form::Pending,
                ("--build", What::Make { build }) => *build = Some(value()?.to_owned()),
                ("--replicas", What::Make { .. }) => {
                    settings = settings.replicas(value()?.parse().ok()?);
                }
                ("--results", What::Purge { results }) => *results = true,
                ("--user", _) => user = Some(value()?),
                ("--password-file", _) => password = Some(value()?),
                ("--nkey", _) => access = access.nkey_file(value()?),
                ("--creds", _) => access = access.credentials_file(value()?),
                ("--ca", _) => access = access.root_certificates(value()?),
                ("--cert", _) => certificate = Some(value()?),
                ("--key", _) => key = Some(value()?),
                ("--tls", _) => access = access.require_tls(),
                ("--inbox-prefix", _) => access = access.inbox_prefix(value()?),
                _ => return None,
            }
        }
        access = match (user, password) {
            (Some(user), Some(file)) => access.user_and_password_file(user, file),
            (None, None) => access,
            _ => return None,
        };
        access = match (certificate, key) {
            (Some(certificate), Some(key)) => access.client_certificate(certificate, key),
            (None, None) => access,
            _ => return None,
        };
        Some(Command {
            url: url.to_owned(),
            app: app.to_owned(),
            settings: settings.access(access),
            what,
        })
    }

    /// What it prints, or why there is nothing.
    pub(crate) async fn run(self) -> Result<String, String> {
        let told = |e: Error| e.to_string();
        let (url, app) = (&self.url, &self.app);
        match self.what {
            What::Status(form) => {
                let status = Status::of(url, app, &self.settings).await.map_err(told)?;
                match form {
                    Form::Text => Ok(status.to_string()),
                    Form::Json => serde_json::to_string_pretty(&status).map_err(|e| e.to_string()),
                    Form::Pending => Ok(status.pending.to_string()),
                }
            }
            What::Make { build } => {
                let making = make(url, app, &self.settings, build.as_deref());
                making.await.map_err(told)?;
                Ok("made".to_owned())
            }
            What::Purge { results } => {
                let purge = Purge::new(url, app).settings(self.settings);
                let purged = purge.results(results).run().await.map_err(told)?;
                Ok(format!(
                    "purged {} tasks, {} dead letters, {} results",
                    purged.tasks, purged.dead, purged.results
                ))
            }
        }
    }
}
