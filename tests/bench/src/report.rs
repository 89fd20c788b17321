//! The table and the JSON lines.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::json;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    More,
    Less,
}

/// Prints each figure as it comes, and writes it down.
pub struct Report {
    lines: File,
    /// Transitions per second of bare group commit.
    ceiling: Option<f64>,
}

impl Report {
    pub fn new() -> anyhow::Result<Self> {
        let folder = Path::new("target/bench");
        std::fs::create_dir_all(folder).context("make target/bench")?;
        let path = folder.join("results.jsonl");
        let lines = File::create(&path).with_context(|| format!("write {}", path.display()))?;
        println!(
            "{:<22} {:>12}  {:<14} {:>10} {:>9}  spread",
            "scenario", "median", "unit", "target", "ceiling"
        );
        Ok(Self {
            lines,
            ceiling: None,
        })
    }

    pub fn add_ceiling(&mut self, mut values: Vec<f64>) -> anyhow::Result<()> {
        values.sort_by(f64::total_cmp);
        self.ceiling = values.get(values.len() / 2).copied();
        self.add("ceiling", &mut values, "transitions/s", 0.0, Better::More)
    }

    /// Adds a scenario's rounds; the median counts.
    pub fn add(
        &mut self,
        scenario: &str,
        values: &mut [f64],
        unit: &str,
        target: f64,
        better: Better,
    ) -> anyhow::Result<()> {
        values.sort_by(f64::total_cmp);
        let median = *values
            .get(values.len() / 2)
            .context("a scenario has at least one round")?;
        let (least, most) = (values[0], values[values.len() - 1]);
        let share = self
            .ceiling
            .filter(|_| better == Better::More && unit != "transitions/s")
            .map(|ceiling| format!("{:.1} %", 100.0 * median / ceiling))
            .unwrap_or_default();
        let goal = match better {
            _ if target == 0.0 => String::new(),
            Better::More => format!(">= {target:.0}"),
            Better::Less => format!("<= {target:.0}"),
        };
        let digits = usize::from(median < 100.0) * 2;
        println!(
            "{scenario:<22} {median:>12.digits$}  {unit:<14} {goal:>10} {share:>9}  {least:.digits$} to {most:.digits$}"
        );
        let line = json!({ "scenario": scenario, "value": median, "unit": unit });
        writeln!(self.lines, "{line}").context("write target/bench/results.jsonl")
    }

    pub fn end(mut self) {
        let _ = self.lines.flush();
        println!("written to target/bench/results.jsonl");
    }
}
