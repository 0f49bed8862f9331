//! The report as one page that needs no other file: tables, plots, and behind each run its manifest, plan and machine.

use super::manifest::{Manifest, prompts};
use super::tables::Table;
use super::{Report, Row, short};
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
            "results": self.results_with_runs(),
            "notes": self.notes(),
            "cost": self.rows.iter().any(|row| row.cost.is_some()).then(|| table(&self.costs())),
            "sections": sections,
            "runs": runs,
            "prompts": prompts(&self.manifests),
        });
        template
            .render(minijinja::Value::from(minijinja::value::Serde(values)))
            .explain("writing the report", TEMPLATE.0)
    }

    /// The first table's lines, each with its verdict and its runs.
    fn results_with_runs(&self) -> Value {
        let results = self.results();
        let line = |(cells, row): (&Vec<String>, &Row)| {
            let runs: Vec<Value> = row
                .records
                .iter()
                .map(|r| json!({ "id": r["run"], "short": short(&r["run"]), "seed": r["seed"] }))
                .collect();
            json!({ "cells": cells, "runs": runs, "missing": row.missing })
        };
        let lines: Vec<Value> = results.lines.iter().zip(&self.rows).map(line).collect();
        json!({ "head": results.head, "lines": lines })
    }
}

fn table(table: &Table) -> Value {
    json!({ "caption": table.caption, "head": table.head, "lines": table.lines, "note": table.note })
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
