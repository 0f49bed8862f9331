use super::{AMAZON_2014, AMAZON_2018, AMAZON_2023, AmazonReviews, Release, characters};
use crate::reading::fixture::{PNG, cache, corpus, finds, load, pack, png, says, write};
use framework::roles::Dataset;
use std::time::Instant;

fn dataset(release: Release) -> AmazonReviews {
    AmazonReviews {
        category: "Toys".into(),
        release,
        folder: None,
        images: "images".into(),
        min_rating: 0.0,
        attributes: Vec::new(),
    }
}

const REVIEWS_2014: &str = r#"{"reviewerID": "A1", "asin": "p2", "reviewerName": "J. \"Ann\"", "helpful": [3, 4], "reviewText": "I'm {glad}.", "overall": 5.0, "unixReviewTime": 1391040000, "reviewTime": "01 30, 2014"}
{"reviewerID": "A2", "asin": "p1", "overall": 1.0, "unixReviewTime": 1391040000}
{"reviewerID": "A1", "asin": "p1", "overall": 2.0, "unixReviewTime": 86400}
"#;
const PRODUCTS_2014: &str = r#"{'asin': 'p9', 'title': 'never reviewed'}
{'asin': 'p1', 'related': {'also_bought': ['p2']}, 'title': "Dolls &amp; Ann's 45&quot; House", 'imUrl': 'http://x/1.jpg'}
{'asin': 'p2', 'categories': [['Toys', 'Dolls']]}
{'asin': 'p1', 'title': 'a second one'}
"#;

#[test]
fn what_fetch_gets_is_found() {
    for (release, archive) in
        [(Release::Core2014, AMAZON_2014), (Release::Core2018, AMAZON_2018), (Release::All2023, AMAZON_2023)]
    {
        finds(&dataset(release), &archive.of(Some("Toys")).expect("a category"));
    }
}

#[test]
fn the_release_of_2014_gives_a_corpus() {
    let items = [("p2", "p2"), ("p1", "Dolls & Ann's 45\" House")];
    let expected = corpus(&["A1", "A2"], &items, &[(0, 0, 1_391_040_000), (1, 1, 1_391_040_000), (0, 1, 86_400)]);
    for (release, name) in
        [(Release::Core2014, "amazon-2014/reviews_Toys_5.json"), (Release::All2014, "amazon-2014/reviews_Toys.json")]
    {
        let plain = cache(&[(name, REVIEWS_2014), ("amazon-2014/meta_Toys.json", PRODUCTS_2014)]);
        assert_eq!(load(&dataset(release), plain.path()).expect("a corpus"), expected);
        let packed = cache(&[]);
        write(packed.path(), &format!("{name}.gz"), &pack(REVIEWS_2014));
        write(packed.path(), "amazon-2014/meta_Toys.json.gz", &pack(PRODUCTS_2014));
        assert_eq!(load(&dataset(release), packed.path()).expect("a corpus"), expected);
    }
}

#[test]
fn the_release_of_2018_gives_a_corpus() {
    let products = r#"{"category": ["Toys"], "title": "var t = new Date().getTime()", "asin": "p1"}
{"title": "Two", "asin": "p2", "description": ["a", "b"]}
"#;
    let expected = corpus(
        &["A1", "A2"],
        &[("p2", "Two"), ("p1", "p1")],
        &[(0, 0, 1_391_040_000), (1, 1, 1_391_040_000), (0, 1, 86_400)],
    );
    for (release, name) in [(Release::Core2018, "amazon-2018/Toys_5.json"), (Release::All2018, "amazon-2018/Toys.json")]
    {
        let cache = cache(&[(name, REVIEWS_2014), ("amazon-2018/meta_Toys.json", products)]);
        assert_eq!(load(&dataset(release), cache.path()).expect("a corpus"), expected);
    }
}

#[test]
fn the_release_of_2023_gives_a_corpus() {
    let reviews = r#"{"rating": 5.0, "title": "Good", "text": "x", "images": [{"small_image_url": "s"}], "asin": "v1", "parent_asin": "p1", "user_id": "U1", "timestamp": 1588687728923, "verified_purchase": true}
{"rating": 1.0, "asin": "v2", "parent_asin": "p1", "user_id": "U2", "timestamp": 1588687728100}
"#;
    let products = r#"{"main_category": "Toys", "title": "One", "images": [], "parent_asin": "p1"}"#;
    let folder = cache(&[("mine/Toys.jsonl", reviews), ("mine/meta_Toys.jsonl", products)]);
    write(folder.path(), "mine/images/p1.jpg", PNG);
    let dataset = AmazonReviews { folder: Some("mine".into()), ..dataset(Release::All2023) };
    let mut expected = corpus(&["U1", "U2"], &[("p1", "One")], &[(0, 0, 1_588_687_728_923), (1, 0, 1_588_687_728_100)]);
    expected.interactions.unit = framework::corpus::Unit::Milliseconds;
    expected.items.image = vec![png()];
    assert_eq!(load(&dataset, folder.path()).expect("a corpus"), expected);
}

#[test]
fn each_release_links_the_first_picture_of_a_product() {
    let links = |release, products: &str, names: [&str; 2]| {
        let folder = cache(&[(names[0], REVIEWS_2014), (names[1], products)]);
        let linked = dataset(release).linked_pictures(folder.path()).expect("links").expect("there are links");
        assert!(linked.folder.ends_with("images"));
        linked.links.iter().map(|(id, link)| format!("{id} {link}")).collect::<Vec<_>>()
    };
    let of_2014 = ["amazon-2014/reviews_Toys_5.json", "amazon-2014/meta_Toys.json"];
    assert_eq!(links(Release::Core2014, PRODUCTS_2014, of_2014), ["p1 http://x/1.jpg"]);
    let products = r#"{"asin": "p1", "imageURL": ["http://x/1s.jpg"], "imageURLHighRes": ["http://x/1.jpg", "http://x/2.jpg"]}
{"asin": "p2", "imageURL": [], "imageURLHighRes": []}
"#;
    let of_2018 = ["amazon-2018/Toys_5.json", "amazon-2018/meta_Toys.json"];
    assert_eq!(links(Release::Core2018, products, of_2018), ["p1 http://x/1.jpg"]);
    let products = r#"{"parent_asin": "p1", "images": [{"thumb": "t", "large": "http://x/1.jpg", "hi_res": null}, {"large": "no"}]}
{"parent_asin": "p2", "images": [{"thumb": "t", "large": null, "hi_res": "http://x/2.jpg"}]}
{"parent_asin": "p1", "images": [{"large": "of a product that is there twice"}]}
"#;
    let of_2023 = ["amazon-2023/Toys.jsonl", "amazon-2023/meta_Toys.jsonl"];
    assert_eq!(links(Release::All2023, products, of_2023), ["p1 http://x/1.jpg", "p2 http://x/2.jpg"]);
}

#[test]
fn damages_are_found_with_their_line() {
    let check = |reviews: &str, products: &str, words: &[&str]| {
        let files = [("amazon-2014/reviews_Toys_5.json", reviews), ("amazon-2014/meta_Toys.json", products)];
        says(load(&dataset(Release::Core2014), cache(&files).path()), words);
    };
    let time = ["the time is \"soon\", not a whole number", "reviews_Toys_5.json, line 3", "fix: the original file"];
    check(&REVIEWS_2014.replace("86400", "\"soon\""), PRODUCTS_2014, &time);
    let user = ["`reviewerID` is missing", "reviews_Toys_5.json, line 2"];
    check(&REVIEWS_2014.replace("\"reviewerID\": \"A2\", ", ""), PRODUCTS_2014, &user);
    check(&REVIEWS_2014[..100], PRODUCTS_2014, &["the line ends", "reviews_Toys_5.json, line 1"]);
    check(REVIEWS_2014, "{'title': 'x'}\n", &["`asin` is missing", "meta_Toys.json, line 1"]);
    let words =
        ["the file reviews_Toys_5.json.gz or reviews_Toys_5.json is missing", "amazon-2014", "jmcauley.ucsd.edu"];
    says(load(&dataset(Release::Core2014), cache(&[]).path()), &words);
}

#[test]
fn names_of_characters_become_characters() {
    assert_eq!(characters("a &lt;b&gt; &amp;amp; &#39;c&#39;"), "a <b> &amp; 'c'");
}

#[test]
fn many_reviews_are_read_fast() {
    let text = "It works as it should, and it came in time. ".repeat(12);
    let review = |n: usize| {
        let (user, item) = (n * 7919 % 50_021, n * 104_729 % 9_973);
        format!(
            "{{\"rating\": 5.0, \"text\": \"{text}\", \"parent_asin\": \"B{item:09}\", \"user_id\": \"AE{user:026}\", \"timestamp\": {n}000}}\n"
        )
    };
    let reviews: String = (0..100_000).map(review).collect();
    let folder = cache(&[("amazon-2023/Toys.jsonl", reviews.as_str()), ("amazon-2023/meta_Toys.jsonl", "")]);
    let start = Instant::now();
    let corpus = load(&dataset(Release::All2023), folder.path()).expect("a corpus");
    println!("100,000 reviews of {} bytes in {:?}", reviews.len() / 100_000, start.elapsed());
    assert_eq!((corpus.interactions.user.len(), corpus.items.id.len()), (100_000, 9_973));
}
