//! Runs wrk, and reads what it prints.

use std::fmt;
use std::process::Command;

/// What wrk is to do.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) url: String,
    pub(crate) encoding: &'static str,
    pub(crate) seconds: u64,
    pub(crate) connections: u32,
}

/// What it found.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    per_second: f64,
    median: String,
    p99: String,
    /// Answers that were no success, and connections that broke.
    failed: u64,
}

impl Load {
    pub(crate) fn run(&self) -> Result<Figures, String> {
        let output = Command::new("wrk")
            .args(["-t1", "--latency", "--timeout", "10"])
            .arg(format!("-c{}", self.connections))
            .arg(format!("-d{}", self.seconds))
            .args([
                "-H",
                &format!("Accept-Encoding: {}", self.encoding),
                &self.url,
            ])
            .output()
            .map_err(|e| format!("wrk: {e}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Figures::read(&text).ok_or_else(|| format!("wrk said: {text}"))
    }
}

impl Figures {
    fn read(text: &str) -> Option<Figures> {
        let after = |name: &str| {
            let found = text.lines().find_map(|line| line.trim().strip_prefix(name));
            found.map(str::trim)
        };
        let refused = after("Non-2xx or 3xx responses:").map_or(Some(0), |n| n.parse().ok())?;
        let broken: u64 = (after("Socket errors:").unwrap_or_default().split(','))
            .filter_map(|part| part.trim().rsplit_once(' ')?.1.parse::<u64>().ok())
            .sum();
        let requests = text
            .lines()
            .find_map(|line| line.split_once(" requests in "));
        Some(Figures {
            requests: requests?.0.trim().parse().ok()?,
            per_second: after("Requests/sec:")?.parse().ok()?,
            median: after("50%")?.to_owned(),
            p99: after("99%")?.to_owned(),
            failed: refused + broken,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} | {} | {} | {}",
            self.per_second, self.median, self.p99, self.failed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let text = "\
Running 1s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   812.29us    1.13ms  17.95ms   93.01%
    Req/Sec    53.01k     6.12k   60.48k    80.00%
  Latency Distribution
     50%  512.00us
     75%  801.00us
     90%    1.52ms
     99%    5.94ms
  52873 requests in 1.00s, 549.33MB read
  Socket errors: connect 0, read 12, write 1, timeout 2
  Non-2xx or 3xx responses: 7
Requests/sec:  52778.09
Transfer/sec:    548.34MB
";
        let figures = Figures::read(text).expect("it is understood");
        assert_eq!(figures.to_string(), "52778 | 512.00us | 5.94ms | 22");
        assert!(Figures::read("unable to connect").is_none());
    }
}
