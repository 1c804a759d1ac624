//! Looks after the applications of [`brigade_cluster`]: see [`USAGE`].

mod command;

use std::io::Write;
use std::process::ExitCode;

use self::command::Command;

const USAGE: &str = "\
brigade-cluster: what applications of brigade-cluster have on the servers

  brigade-cluster status URL APP            queues, builds, workers and dead letters, as text
  brigade-cluster status URL APP --json     the same, as JSON
  brigade-cluster status URL APP --pending  how many tasks wait: a number
  brigade-cluster make URL APP              makes the streams, for programs that may not
      --build NAME                          and the consumer of this build
      --replicas N                          on so many servers: 1
  brigade-cluster purge URL APP             cancels all tasks, forgets dead letters
      --results                             and results, and large values

  as whom it connects:
      --user NAME --password-file FILE      a user and a password
      --nkey FILE                           the seed of an NKey
      --creds FILE                          a JWT and the seed of its NKey
      --ca FILE                             certificates that servers have to be certified by
      --cert FILE --key FILE                its own certificate and key
      --tls                                 refuses servers without TLS
      --inbox-prefix PREFIX                 what the subjects of answers begin with: _INBOX";

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
