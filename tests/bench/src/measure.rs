//! Latencies, and what the kernel says of the server's process.

use std::fmt;
use std::time::Duration;

/// What a measurement found.
#[derive(Debug, Default)]
pub struct Report {
    /// Of each request.
    pub latencies: Vec<Duration>,
    /// How many things were done; usually as many as there are latencies.
    pub count: usize,
    /// Bytes of all answers.
    pub bytes: usize,
    /// How long it took.
    pub took: Duration,
    /// CPU time that the server used meanwhile.
    pub cpu: Option<Duration>,
    /// Its resident memory afterwards, MiB.
    pub resident: Option<f64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = |q: f64| {
            sorted.get(((sorted.len() as f64 - 1.0) * q).max(0.0) as usize).map_or(0.0, |d| d.as_secs_f64() * 1e3)
        };
        let seconds = self.took.as_secs_f64().max(1e-9);
        let cpu = self.cpu.map_or("-".into(), |c| format!("{:.1}", c.as_secs_f64() * 1e6 / self.count.max(1) as f64));
        let resident = self.resident.map_or("-".into(), |r| format!("{r:.1}"));
        write!(
            f,
            "{:>10.0} {:>9.2} {:>9.2} {:>11} {:>12.1} {:>10}",
            self.count as f64 / seconds,
            at(0.5),
            at(0.99),
            cpu,
            self.bytes as f64 / seconds / 1e6,
            resident
        )
    }
}

/// User and system time of a process so far.
pub fn cpu(pid: Option<u32>) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid?)).ok()?;
    let rest: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = rest.get(11)?.parse::<u64>().ok()? + rest.get(12)?.parse::<u64>().ok()?;
    // Linux counts in hundredths of a second on every machine we know.
    Some(Duration::from_millis(ticks * 10))
}

/// Resident memory of a process, MiB.
pub fn resident(pid: Option<u32>) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{}/status", pid?)).ok()?;
    let line = text.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}
