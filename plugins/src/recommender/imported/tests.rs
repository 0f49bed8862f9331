use super::*;
use crate::fixture::{context, train};
use framework::plugin::Setting;
use framework::problem::Reader;
use framework::toml;

/// What user 1 of 2 gets for 4 items by a file, with more settings.
fn scored(name: &str, content: &[u8], more: &str) -> Result<Vec<f32>> {
    let (cx, folder) = context();
    let train = train(4, &[&[0, 1, 2], &[1, 2, 3]]);
    let file = folder.path().join(name);
    std::fs::write(&file, content).expect("a file");
    let mut table: toml::Table = more.parse().expect("TOML");
    table.insert("file".into(), file.display().to_string().into());
    let model = Imported::read(&toml::Value::Table(table), &mut Reader::default()).expect("right settings");
    model.fit(&train, &cx)?.save(folder.path())?;
    let scorer = model.load(folder.path(), &train, &cx)?;
    let query = Query { user: 1, history: &[1], ..Query::default() };
    Ok(scorer.score(&[query], &cx)?.into_data().iter::<f32>().collect())
}

fn lists(name: &str, text: &str) -> Result<Vec<f32>> {
    scored(name, text.as_bytes(), "")
}

#[test]
fn every_format_gives_the_same_order() {
    let expected = [-5.0, -1.0, 0.0, 0.0];
    let trec = "0 Q0 1 1 0.5 x\n1 Q0 2 1 7.5 x\n1 Q0 3 2 7.5 x\n1 Q0 1 3 -1e-300 x\n";
    assert_eq!(lists("run.trec", trec).expect("lists"), expected);
    let tsv = "score\tuser_id\titem_id\n7.5\t1\t2\n7.5\t1\t3\n-3\t1\t1\n";
    assert_eq!(lists("run.tsv", tsv).expect("lists"), expected);
    let json = "{\"user_id\": \"1\", \"item_id\": \"2\", \"score\": 2}\n{\"user_id\": \"1\", \"item_id\": \"3\", \"score\": 2}\n{\"user_id\": \"1\", \"item_id\": \"1\", \"score\": 1}\n";
    assert_eq!(lists("run.jsonl", json).expect("lists"), expected);
    let columns = "user_column = \"u\"\nitem_column = \"Item Id\"\nscore_column = \"rating\"";
    let csv = "u,Item Id,rating\n1,2,7.5\n1,3,7.5\n1,1,-inf\n";
    assert_eq!(
        scored("run.csv", csv.as_bytes(), columns).expect("lists"),
        [-5.0, -5.0, 0.0, 0.0],
        "-inf is not listed"
    );
    let all = "user_id,item_id,score\n1,2,-inf\n";
    assert_eq!(lists("run.csv", all).expect("a list of nothing is one"), [-5.0; 4]);
}

#[test]
fn ranks_are_an_order_of_their_own_or_agree_with_the_scores() {
    let by_rank = "user_id,item_id,rank\n1,2,1\n1,3,1\n1,1,2\n";
    assert_eq!(lists("run.csv", by_rank).expect("lists"), [-5.0, -1.0, 0.0, 0.0]);
    let json = |rank: u32| {
        let line = |item: u32, rank: u32, score: u32| {
            format!("{{\"user_id\": 1, \"item_id\": {item}, \"rank\": {rank}, \"score\": {score}}}\n")
        };
        line(2, 1, 9) + &line(3, rank, 8)
    };
    assert!(lists("run.jsonl", &json(2)).is_ok() && lists("run.jsonl", &json(1)).is_ok(), "equal ranks say nothing");
    let table = "user_id,item_id,score,rank\n1,2,0.5,2\n1,1,0.1,3\n1,3,0.4,1\n";
    let trec = "1 Q0 2 2 0.5 x\n1 Q0 1 3 0.1 x\n1 Q0 3 1 0.4 x\n";
    for (name, text, line) in
        [("run.csv", table, "line 2"), ("run.trec", trec, "line 1"), ("run.jsonl", &json(0), "line 1")]
    {
        let message = lists(name, text).expect_err("a contradiction").to_string();
        assert!(message.contains("better rank has a lower score") && message.contains(line), "{message}");
    }
    let mut table = df!("user_id" => [1u32, 1], "item_id" => ["2", "3"], "score" => [0.5f32, 0.7], "rank" => [1i64, 2]);
    let table = table.as_mut().expect("a table");
    let mut bytes = Vec::new();
    polars::prelude::ParquetWriter::new(&mut bytes).finish(table).expect("parquet");
    let message = scored("run.parquet", &bytes, "").expect_err("a contradiction").to_string();
    assert!(message.contains("row 2"), "{message}");
    assert!(scored("run.parquet", &bytes, "rank_column = \"none\"").is_ok());
}

#[test]
fn users_without_a_list_are_named_or_miss() {
    let text = "0 Q0 1 1 0.5 x\n";
    let message = lists("run", text).expect_err("user 1 is missing").to_string();
    assert!(message.contains("no list for user 1,") && message.contains("--missing-users"), "{message}");
    let missing = scored("run", text.as_bytes(), "missing_users = \"miss\"").expect("a miss");
    assert_eq!(missing, [f32::NEG_INFINITY; 4]);
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, said) in [
        ("0 Q0 1 1 0.5\n", "5 words instead of"),
        ("0 Q0 9 1 0.5 x\n", "item \"9\" is not in the data"),
        ("7 Q0 1 1 0.5 x\n", "user \"7\" is not in the data"),
        ("0 Q0 1 1 nan x\n", "the score is \"nan\", which has no place"),
        ("1 Q0 2 1 1 x\n0 Q0 1 1 inf x\n", "line 2"),
        ("0 Q0 1 1 high x\n", "the score is \"high\", not a number"),
        ("0 Q0 1 first 1 x\n", "the rank is \"first\", not a number"),
        ("1 Q0 1 1 1 x\n1 Q0 1 2 0 x\n", "user \"1\" has item \"1\" twice"),
    ] {
        let message = lists("run", text).expect_err("it is wrong").to_string();
        assert!(message.contains(said) && message.contains("line "), "{message}");
    }
}
