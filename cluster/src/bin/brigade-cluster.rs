//! Looks after the applications of [`brigade_cluster`]: see [`USAGE`].

use std::io::Write;
use std::process::ExitCode;

use brigade_cluster::{Settings, Status};

const USAGE: &str = "\
brigade-cluster: what applications of brigade-cluster have on the servers

  brigade-cluster status URL APP            queues, builds, workers and dead letters, as text
  brigade-cluster status URL APP --json     the same, as JSON
  brigade-cluster status URL APP --pending  how many tasks wait: a number";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if matches!(*words, ["help" | "--help" | "-h", ..]) {
        return print(USAGE);
    }
    let Some(command) = Command::of(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("brigade-cluster: no runtime: {e}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(command.run()) {
        Ok(text) => print(text.trim_end()),
        Err(e) => {
            // It may have the servers' words in it.
            let safe: String = e.chars().flat_map(escaped).collect();
            eprintln!("brigade-cluster: {safe}");
            ExitCode::FAILURE
        }
    }
}

/// What may not be printed as it is.
fn escaped(c: char) -> Vec<char> {
    match c {
        '"' | '\'' | '\\' => vec![c],
        _ => c.escape_debug().collect(),
    }
}

/// A reader that has gone is none's fault.
fn print(text: &str) -> ExitCode {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// In which form a status is wanted.
enum Form {
    Text,
    Json,
    Pending,
}

enum Command<'a> {
    Status {
        url: &'a str,
        app: &'a str,
        form: Form,
    },
}

impl<'a> Command<'a> {
    fn of(words: &[&'a str]) -> Option<Command<'a>> {
        let (&[command, url, app], options) = words.split_first_chunk::<3>()?;
        let form = match options {
            [] => Form::Text,
            ["--json"] => Form::Json,
            ["--pending"] => Form::Pending,
            _ => return None,
        };
        (command == "status").then_some(Command::Status { url, app, form })
    }

    async fn run(&self) -> Result<String, String> {
        let Command::Status { url, app, form } = self;
        let settings = Settings::default();
        let status = Status::of(url, app, &settings).await;
        let status = status.map_err(|e| e.to_string())?;
        match form {
            Form::Text => Ok(status.to_string()),
            Form::Json => serde_json::to_string_pretty(&status).map_err(|e| e.to_string()),
            Form::Pending => Ok(status.pending.to_string()),
        }
    }
}
