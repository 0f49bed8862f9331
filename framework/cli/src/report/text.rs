//! The report as text: Markdown, CSV, JSON, LaTeX.

use super::tables::Table;
use super::{Compared, Difference, Interval, Report, Row, settings};
use framework::statistics::Scope;
use serde_json::{Value, json};
use std::fmt::Write;

impl Report {
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n", self.name);
        if !self.description.is_empty() {
            let _ = writeln!(text, "{}\n", self.description);
        }
        let groups = self.groups();
        text += &groups.first().map_or(String::new(), |base| markdown(&self.results(base)));
        if self.manifests.is_empty() {
            return text + "\n" + &self.notes().concat() + "\n";
        }
        text.push('\n');
        for note in self.notes().into_iter().chain(self.sources()) {
            let _ = writeln!(text, "- {note}");
        }
        for table in self.more() {
            let _ = write!(text, "\n## {}\n\n{}", table.caption, markdown(&table));
            for (n, note) in table.notes.iter().enumerate() {
                let _ = writeln!(text, "{}- {note}", if n == 0 { "\n" } else { "" });
            }
        }
        text
    }

    pub(super) fn csv(&self) -> String {
        let mut text = String::from(
            "kind,variant,metric,mean,low,high,users,seeds,p_adjusted,effect,verdict,runs,against,stratum,can_show,settings\n",
        );
        for row in &self.rows {
            let runs: Vec<&str> = row.records.iter().filter_map(|record| record["run"].as_str()).collect();
            let (variant, seeds, runs) = (quoted(&row.variant), row.records.len(), runs.join(" "));
            for (name, Interval { mean, low, high, n }) in &row.cells {
                let _ = writeln!(text, "metric,{variant},{name},{mean},{low},{high},{n},{seeds},,,,{runs},,,,");
            }
            for own in self.compared.iter().filter(|own| own.variant == row.variant) {
                let Some(Difference { interval, p, effect, verdict, smallest, .. }) = own.difference else { continue };
                let (Interval { mean, low, high, n }, metric) = (interval, &self.metric);
                let (against, stratum) = (quoted(&own.against), quoted(own.stratum.as_deref().unwrap_or_default()));
                let _ = writeln!(
                    text,
                    "difference,{variant},{metric},{mean},{low},{high},{n},{seeds},{p},{effect},{verdict},{runs},{against},{stratum},{smallest},"
                );
            }
            for trial in row.tuned.iter().flat_map(|tuned| &tuned.trials) {
                let metric = row.tuned.as_ref().map_or("", |tuned| tuned.metric.as_str());
                let (value, settings) =
                    (trial.judged().map_or(String::new(), |value| value.to_string()), quoted(&settings(trial)));
                let seeds = trial.again.len().max(1);
                let _ = writeln!(text, "trial,{variant},{metric} on validation,{value},,,,{seeds},,,,,,,,{settings}");
            }
            for (name, number) in row.cost.iter().flat_map(|cost| cost.numbers()).filter(|(_, number)| *number > 0.0) {
                let _ = writeln!(text, "cost,{variant},{name},{number},,,,{seeds},,,,{runs},,,,");
            }
        }
        for found in &self.attributions {
            let values = found.values.iter().map(|value| ("shapley", value));
            for (kind, (name, Interval { mean, low, high, n })) in
                values.chain(found.pairs.iter().map(|pair| ("interaction", pair)))
            {
                let _ = writeln!(text, "{kind},{},{},{mean},{low},{high},{n},,,,,,,,,", quoted(name), self.metric);
            }
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let named = |all: &[(String, Interval)]| -> Value {
            all.iter().map(|(name, cell)| (name.clone(), interval(cell))).collect()
        };
        let row = |row: &Row| {
            let difference = row.difference.as_ref().map(|difference| self.judged(difference));
            let runs: Vec<_> = row.records.iter().map(|r| json!({ "run": r["run"], "seed": r["seed"] })).collect();
            let cost = row.cost.as_ref().map(|cost| cost.json());
            let mut found = json!({ "variant": row.variant, "fingerprint": row.fingerprint, "metrics": named(&row.cells), "difference": difference, "cost": cost, "runs": runs, "not_run": row.missing });
            if let Some(tuned) = &row.tuned {
                found["search"] = json!(tuned);
            }
            found
        };
        let compared = |own: &Compared| {
            let difference = own.difference.as_ref().map(|difference| self.judged(difference));
            json!({ "variant": own.variant, "against": own.against, "stratum": own.stratum, "cases": own.cases, "difference": difference })
        };
        let attribution = |found: &super::Attribution| json!({ "name": found.name, "metric": self.metric, "total": interval(&found.total), "shapley": named(&found.values), "interactions": named(&found.pairs) });
        let curve = |curve: &super::Curve| {
            let points = curve.points.iter().map(|point| {
                json!({ "value": point.value, "variant": point.variant, "interval": interval(&point.interval) })
            });
            json!({ "name": curve.name, "key": curve.key, "metric": self.metric, "points": points.collect::<Vec<_>>() })
        };
        json!({
            "name": self.name,
            "openings": self.rows.first().and_then(|base| self.openings.get(&base.fingerprint)),
            "comparison": self.comparison.in_words(),
            "comparisons": self.compared.iter().map(compared).collect::<Vec<_>>(),
            "search": self.searches().map(|table| json!({ "head": table.head, "lines": table.lines, "notes": table.notes })),
            "notes": self.notes(),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "attribution": self.attributions.iter().map(attribution).collect::<Vec<_>>(),
            "not_attributed": self.unattributed,
            "curves": self.curves.iter().map(curve).collect::<Vec<_>>(),
            "manifest": self.manifests.iter().map(super::Manifest::json).collect::<Vec<_>>(),
        })
    }

    /// A comparison as data.
    fn judged(&self, difference: &Difference) -> Value {
        let about = match difference.scope {
            Scope::Methods => "methods",
            Scope::Models => "trained models",
        };
        json!({ "metric": self.metric, "interval": interval(&difference.interval), "p_adjusted": difference.p,
            "effect": difference.effect, "smallest": difference.smallest, "about": about,
            "verdict": difference.verdict.to_string() })
    }

    pub(super) fn latex(&self) -> String {
        let mut text = self.groups().first().map_or(String::new(), |base| tabular(&self.results(base)));
        for note in self.notes().into_iter().chain(self.sources()) {
            let _ = writeln!(text, "% {note}");
        }
        for table in self.more() {
            let _ = write!(text, "\n% {}\n{}", table.caption, tabular(&table));
            for note in &table.notes {
                let _ = writeln!(text, "% {note}");
            }
        }
        text + &self.appendix()
    }

    /// What made each number, for the end of a paper.
    fn appendix(&self) -> String {
        if self.manifests.is_empty() {
            return String::new();
        }
        let mut text = String::from("\n\\appendix\n\\section{What made the numbers}\n");
        for manifest in &self.manifests {
            let _ = writeln!(text, "\\subsection*{{{}}}", escaped(&manifest.title()));
            text += "\\begin{description}\n";
            for (name, value) in manifest.entries() {
                let value = value.map_or_else(|| "\\emph{not recorded}".into(), breakable);
                let _ = writeln!(text, "\\item[{}] {value}", escaped(name));
            }
            text += "\\end{description}\n";
        }
        for (hash, prompt) in super::manifest::prompts(&self.manifests) {
            let _ = writeln!(text, "\\subsection*{{Prompt {}}}\n\\begin{{flushleft}}\\ttfamily\\small", &hash[..10]);
            let lines: Vec<String> = prompt.lines().map(|line| format!("\\mbox{{}}{}", escaped(line))).collect();
            let _ = writeln!(text, "{}\n\\end{{flushleft}}", lines.join("\\\\\n"));
        }
        text
    }
}

fn markdown(table: &Table) -> String {
    let plain = |line: &Vec<String>| line.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = [&table.head].into_iter().chain(&table.lines).map(plain).collect();
    let width = |n: usize| lines.iter().map(|line| line[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    let written = |line: &Vec<String>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>();
    [written(&lines[0]), written(&rule)].into_iter().chain(lines[1..].iter().map(written)).collect()
}

fn tabular(table: &Table) -> String {
    let line = |line: &Vec<String>| line.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(" & ") + " \\\\\n";
    let mut text = format!("\\begin{{tabular}}{{l{}}}\n\\toprule\n", "r".repeat(table.head.len() - 1));
    text += &line(&table.head);
    text += "\\midrule\n";
    table.lines.iter().for_each(|row| text += &line(row));
    text + "\\bottomrule\n\\end{tabular}\n"
}

/// Text with LaTeX's own characters made harmless.
fn escaped(text: &str) -> String {
    let escape = |c: char| match c {
        '\\' => "\\textbackslash{}".to_string(),
        '~' => "\\textasciitilde{}".to_string(),
        '^' => "\\textasciicircum{}".to_string(),
        '×' => "$\\times$".to_string(),
        '{' | '}' | '$' | '&' | '#' | '_' | '%' => format!("\\{c}"),
        c => c.to_string(),
    };
    text.chars().map(escape).collect()
}

/// The same, and long hashes may be broken at any of their groups.
fn breakable(text: &str) -> String {
    let broken = |word: &str| {
        let hash = word.trim_end_matches(',');
        if hash.len() < 40 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return escaped(word);
        }
        let parts = hash.as_bytes().chunks(8).filter_map(|part| std::str::from_utf8(part).ok());
        parts.collect::<Vec<_>>().join("\\-") + &word[hash.len()..]
    };
    text.split(' ').map(broken).collect::<Vec<_>>().join(" ")
}

fn interval(interval: &Interval) -> Value {
    let number = |x: f64| if x.is_finite() { json!(x) } else { Value::Null };
    json!({ "mean": number(interval.mean), "low": number(interval.low), "high": number(interval.high), "n": interval.n })
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latex_and_csv_keep_the_readers_text_harmless() {
        assert_eq!(escaped(r"a_b \ 5%{x}"), r"a\_b \textbackslash{} 5\%\{x\}");
        assert_eq!(breakable(&"0123456789abcdef".repeat(4)).matches("\\-").count(), 7);
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
