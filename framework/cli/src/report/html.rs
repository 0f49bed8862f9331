//! The report as one page that needs no other file: tables, plots, and behind each run its manifest, plan and machine.

use super::manifest::{Manifest, prompts};
use super::tables::Table;
use super::{Report, Row, metrics, short};
use framework::error::{Explain, Result};
use minijinja::Environment;
use serde_json::{Value, json};

/// Its name ends in `.html`, so everything that is put in is escaped, but for the plots, which escape what they hold.
const TEMPLATE: (&str, &str) = ("report.html", include_str!("report.html"));

impl Report {
    pub(super) fn html(&self) -> Result<String> {
        let mut environment = Environment::new();
        environment.add_template(TEMPLATE.0, TEMPLATE.1).explain("reading the report's template", TEMPLATE.0)?;
        let template = environment.get_template(TEMPLATE.0).explain("reading the report's template", TEMPLATE.0)?;
        let records = self.rows.iter().flat_map(|row| &row.records);
        let runs: Vec<Value> =
            records.zip(&self.manifests).map(|(record, manifest)| run(record, manifest)).collect::<Result<_>>()?;
        let sections: Vec<Value> = self
            .sections()
            .iter()
            .map(|section| {
                let tables: Vec<Value> = section.tables.iter().map(table).collect();
                json!({ "id": section.id, "title": section.title, "lead": section.lead, "legend": section.legend,
                    "plots": section.plots, "tables": tables })
            })
            .collect();
        let values = json!({
            "name": self.name,
            "description": self.description,
            "metric": self.metric,
            "results": self.groups().iter().map(|group| self.results_with_runs(group)).collect::<Vec<_>>(),
            "apart": self.apart().iter().map(table).collect::<Vec<_>>(),
            "notes": self.notes(),
            "further": self.further().as_ref().map(table),
            "searches": self.searches().as_ref().map(table),
            "cost": self.rows.iter().any(|row| row.cost.is_some()).then(|| table(&self.costs())),
            "sections": sections,
            "runs": runs,
            "prompts": prompts(&self.manifests),
        });
        template
            .render(minijinja::Value::from(minijinja::value::Serde(values)))
            .explain("writing the report", TEMPLATE.0)
    }

    /// The results of `group` for a narrow screen: the difference and its verdict come first and in one cell, the runs
    /// last.
    fn results_with_runs(&self, group: &[&Row]) -> Value {
        let metrics = 1 + metrics(group).len();
        let results = self.results(group);
        let compared = results.head.len() > metrics;
        let ordered = |cells: &[String], base: bool| {
            let difference = match cells.get(metrics..) {
                Some([difference, verdict, can_show]) if !base && !difference.is_empty() => {
                    format!("{difference}\n{verdict}; can show {can_show}")
                }
                _ if base => "base".into(),
                _ => String::new(),
            };
            let difference = compared.then_some(difference);
            cells[..1].iter().cloned().chain(difference).chain(cells[1..metrics].to_vec()).collect::<Vec<_>>()
        };
        let mut head = ordered(&results.head, false);
        if compared {
            head[1].clone_from(&results.head[metrics]);
        }
        let line = |(n, (cells, row)): (usize, (&Vec<String>, &&Row))| {
            let run = |r: &Value| json!({ "id": r["run"], "short": short(&r["run"]), "seed": r["seed"] });
            let runs: Vec<Value> = row.records.iter().map(run).collect();
            json!({ "cells": ordered(cells, n == 0), "runs": runs, "missing": row.missing })
        };
        let lines: Vec<Value> = results.lines.iter().zip(group).enumerate().map(line).collect();
        json!({ "head": head, "lines": lines })
    }
}

fn table(table: &Table) -> Value {
    json!({ "caption": table.caption, "head": table.head, "lines": table.lines, "notes": table.notes })
}

/// All that the page keeps of a run.
fn run(record: &Value, manifest: &Manifest) -> Result<Value> {
    let place = || format!("run {}", manifest.run());
    let plan: framework::toml::Table =
        serde_json::from_value(record["plan"].clone()).explain("reading a run's plan", place())?;
    let entries: Vec<(&str, Option<&str>)> = manifest.entries().collect();
    Ok(json!({
        "id": manifest.run(),
        "title": manifest.title(),
        "entries": entries,
        "lacking": manifest.lacking().join(", "),
        "plan": framework::toml::to_string(&plan).explain("writing a run's plan", place())?,
        "provenance": format!("{:#}", record["provenance"]),
    }))
}
