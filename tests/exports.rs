//! What leaves the store for other programs: adapters for PEFT, recommendations for whoever reads lists; and how lists of
//! others come in.

use crate::checkpoints::checkpoint;
use crate::program::{Program, SMALL};
use serde_json::{Value, json};

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The record of the run of a spec's row.
fn record(program: &Program, name: &str, variant: &str) -> Value {
    let (name, variant) = (format!("name={name}"), format!("variant={variant}"));
    let list = json(&program.ok(&["list", "--json", "--where", &name, "--where", &variant]).out);
    let id = list[0]["run"].as_str().expect("a run").to_owned();
    json(&program.ok(&["show", &id, "--json"]).out)
}

fn mean(record: &Value, metric: &str) -> f64 {
    record["metrics"][metric]["mean"].as_f64().expect("a mean")
}

#[test]
fn recommendations_get_the_metrics_of_their_run() {
    let program = Program::new();
    let spec = SMALL.replace("max_epochs = 4", "max_epochs = 1");
    let few = spec.clone() + "[protocol]\ncandidates = { negatives = 20 }\n";
    for (name, spec) in [("whole", spec), ("few", few)] {
        let file = program.file(&format!("{name}.toml"), &spec.replace("\"small\"", &format!("\"{name}\"")));
        program.ok(&["run", &file]);
        let mut files = Vec::new();
        for row in ["popularity", "sasrec"] {
            let id = record(&program, name, row)["run"].as_str().expect("a run").to_owned();
            for ending in ["trec", "csv", "parquet"] {
                let lists = program.path(&format!("{name}-{row}-{ending}.{ending}")).display().to_string();
                let said = program.ok(&["export", &id, "--recommendations", &lists]);
                assert!(said.out.contains("the 10 best of each") && said.err.is_empty(), "{}{}", said.out, said.err);
                files.push(lists);
            }
        }
        let arguments = [vec!["score", &file], files.iter().map(String::as_str).collect()].concat();
        let scored = program.ok(&arguments);
        assert!(!scored.out.contains("have a list of fewer than"), "{}", scored.out);
        let suffix = if name == "few" { "|c21" } else { "" };
        for row in ["popularity", "sasrec"] {
            let own = record(&program, name, row);
            for ending in ["trec", "csv", "parquet"] {
                let theirs = record(&program, name, &format!("{name}-{row}-{ending}"));
                for metric in ["hr@10", "ndcg@10", "mrr@10", "coverage@10"] {
                    let metric = format!("{metric}{suffix}");
                    assert_eq!(mean(&own, &metric), mean(&theirs, &metric), "{name} {row} {ending} {metric}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_exported_is_said() {
    let program = Program::new();
    let spec = SMALL.replace("use = \"sasrec\"", "use = \"markov\"");
    let spec = program.file("small.toml", spec.split("hidden_size").next().expect("a spec"));
    program.ok(&["run", &spec]);
    let says = |arguments: &[&str], part: &str| {
        let ran = program.run(arguments);
        assert!(ran.code != 0 && ran.err.contains(part), "{arguments:?}\n{}{}", ran.out, ran.err);
    };
    let path = |name: &str| program.path(name).display().to_string();
    says(&["export", "latest", "--recommendations", &path("lists.xlsx")], "no known format");
    says(&["export", "nobody", "--recommendations", &path("lists.csv")], "no run's id begins with `nobody`");
    says(&["export", "latest", &path("adapter"), "--as", "adapter"], "the run trained no adapter");
    says(&["export", "latest"], "required");
    says(&["export", "latest", &path("x"), "--recommendations", &path("lists.csv")], "cannot be used with");
    program.ok(&["export", "latest", "--recommendations", &path("lists.csv"), "--top", "3"]);
    let text = std::fs::read_to_string(path("lists.csv")).expect("a file");
    assert!(text.starts_with("user_id,item_id,title,score,rank\n") && text.lines().count() > 3 * 100, "{text}");
    says(&["export", "latest", "--recommendations", &path("lists.csv")], "there already");
    // Shorter lists than the metrics look at are counted.
    let report = program.ok(&["score", &spec, &path("lists.csv")]).out;
    assert!(report.contains("lists: 120 of 120 test users have a list of fewer than 10 items"), "{report}");
}

#[test]
fn users_without_a_list_are_called_by_their_ids() {
    let program = Program::new();
    std::fs::create_dir(program.path("own")).expect("a folder");
    let rows: String = (0..50).map(|n| format!("{},i{},{n}\n", 9 - n / 5, n * 7 % 9)).collect();
    program.file("own/interactions.csv", &format!("user_id,item_id,timestamp\n{rows}"));
    let spec = "name = \"own\"\n[dataset]\nuse = \"table\"\nfolder = \"own\"\nitems = false\n[protocol]\nk_core = 0\n[recommender]\nuse = \"popularity\"\n";
    let spec = program.file("own.toml", spec);
    let list = |user: usize| (0..9).map(|n| format!("{user}\ti{n}\t{}\n", 9 - n)).collect::<String>();
    let lists: String = (0..10).filter(|user| *user != 7).map(list).collect();
    let file = program.file("theirs.tsv", &format!("who\twhat\tvalue\n{lists}"));
    let cache = program.path("").display().to_string();
    let columns = ["--user-column", "who", "--item-column", "what", "--score-column", "value"];
    let score = |more: &[&str]| program.run(&[&["--cache", &cache, "score", &spec, &file], more].concat());
    let other = lists.replace('\t', ";");
    let other = program.file("other.csv", &format!("who;what;value\n{other}"));
    let parted = [&["--cache", &cache, "score", &spec, &other, "--separator", ";"], &columns[..]].concat();
    let refused = program.run(&parted);
    assert!(refused.code == 1 && refused.err.contains("no list for user 7,"), "{}", refused.err);
    let unnamed = score(&[]);
    assert!(unnamed.code == 1 && unnamed.err.contains("no column is called `user_id`"), "{}", unnamed.err);
    let refused = score(&columns);
    assert!(refused.code == 1 && refused.err.contains("no list for user 7,"), "{}", refused.err);
    let counted = score(&[&columns[..], &["--missing-users", "miss"]].concat());
    assert_eq!(counted.code, 0, "{}", counted.err);
    let warning = "theirs: 1 of 10 test users have no list and count as misses";
    assert!(counted.out.contains(warning), "{}", counted.out);
}

/// A spec whose language model is fine-tuned with LoRA, small enough for a test.
fn tuned(program: &Program, model: &str, more: &str) -> String {
    // The checkpoint knows the words w3, w4, … alone.
    let words = "{% for title in history %}w{{ title | length }} {% endfor %}w{{ candidate | length }}";
    let prompt = program.file("prompt.jinja", words);
    format!(
        "name = \"tuned\"\n[dataset]\nuse = \"world\"\nusers = 60\nitems = 30\nmax_interactions = 12\n[protocol]\n\
         candidates = {{ negatives = 5, cases = 12 }}\n[evaluator]\nmetrics = [\"auc\"]\nselects_by = \"auc\"\n\
         [recommender]\nuse = \"llm\"\nprompt = \"{prompt}\"\nyes = \"w7\"\nno = \"w9\"\nmax_users = 8\nmax_history = 3\n{more}\n[recommender.language_model]\n\
         use = \"local\"\nmodel = \"{model}\"\n"
    )
}

#[test]
fn a_trained_adapter_leaves_with_its_models_name_and_comes_back() {
    let program = Program::new();
    let model = checkpoint(&program);
    let training = "tuning = { epochs = 1, learning_rate = 0.05, lora = { rank = 4 } }";
    let spec = program.file("tuned.toml", &tuned(&program, &model, training));
    program.ok(&["run", &spec]);
    let own = record(&program, "tuned", "llm");
    let folder = program.path("adapter").display().to_string();
    let said = program.ok(&["export", "latest", &folder, "--as", "adapter"]).out;
    assert!(said.contains("an adapter of tiny/llama"), "{said}");
    let config = std::fs::read_to_string(program.path("adapter/adapter_config.json")).expect("a file");
    let config = json(&config);
    assert_eq!((&config["base_model_name_or_path"], &config["r"]), (&json!("tiny/llama"), &json!(4)));
    let is = json(&program.ok(&["inspect", &folder, "--json"]).out);
    assert_eq!((&is["base"], &is["rank"]), (&json!("tiny/llama"), &json!(4)));
    // Beside the same base model, it is the model that was trained.
    let again = tuned(&program, &model, "fine_tuned = false").replace("name = \"tuned\"", "name = \"again\"");
    let again = program.file("again.toml", &format!("{again}adapter = \"{folder}\"\n"));
    program.ok(&["run", &again]);
    let theirs = record(&program, "again", "llm");
    assert!((mean(&own, "auc|c6") - mean(&theirs, "auc|c6")).abs() < 1e-9, "{own:#} {theirs:#}");
    let plain =
        program.file("plain.toml", &tuned(&program, &model, "fine_tuned = false").replace("\"tuned\"", "\"plain\""));
    program.ok(&["run", &plain]);
    let plain = record(&program, "plain", "llm");
    assert_ne!(mean(&own, "auc|c6"), mean(&plain, "auc|c6"), "it does something");
    peft_opens(&program, &model, &folder);
    // What was trained on top of it would be worth nothing without it.
    let both = tuned(&program, &model, training).replace("\"tuned\"", "\"both\"");
    let both = program.file("both.toml", &format!("{both}adapter = \"{folder}\"\n"));
    program.ok(&["run", &both]);
    let ran = program.run(&["export", "latest", &program.path("other").display().to_string(), "--as", "adapter"]);
    assert!(ran.code == 1 && ran.err.contains("on top of another adapter"), "{}", ran.err);
}

/// Opens the folder with PEFT, where there is one.
fn peft_opens(program: &Program, model: &str, adapter: &str) {
    let Some(python) = std::env::var_os("ABLATE_PYTHON") else {
        eprintln!("skipped: ABLATE_PYTHON names no Python");
        return;
    };
    let run = |arguments: &[&str]| std::process::Command::new(&python).args(arguments).output().expect("it starts");
    if !run(&["-c", "import torch, transformers, peft"]).status.success() {
        eprintln!("skipped: the Python of ABLATE_PYTHON has no torch, transformers and peft");
        return;
    }
    let output = run(&["tests/peers/adapter.py", model, adapter, "[5, 6, 7]"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    let logits = json(said.trim().lines().last().expect("logits"));
    assert_eq!((logits.as_array().map(Vec::len), logits[0].as_array().map(Vec::len)), (Some(3), Some(320)));
    assert!(program.path("adapter/README.md").is_file(), "a card for the model hub");
}
