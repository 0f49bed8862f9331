//! Amazon's reviews as McAuley's group publishes them: who reviewed which product, and when.

use crate::reading::columns::Cell;
use crate::reading::literal::{Literal, fields, literals, required};
use crate::reading::tally::Tally;
use crate::reading::times::in_coarsest_unit;
use crate::reading::{Ids, Lines, Pictures, catalogue, one_line, present, push, short};
use framework::archive::{Archive, Download, FileSum};
use framework::context::Context;
use framework::corpus::{Attribute, Corpus, Interactions, Items, LinkedPictures};
use framework::error::{Error, Result};
use framework::roles::Dataset;
use framework::{choice, inventory, plugin};
use serde_json::Value;
use std::path::{Path, PathBuf};

choice! {
    /// A release of the reviews, and which of its files.
    enum Release {
        /// May 1996 to July 2014: `reviews_<category>.json.gz`.
        All2014 = "2014",
        /// Of that, users and products with 5 reviews or more: `reviews_<category>_5.json.gz`.
        Core2014 = "2014-5core",
        /// May 1996 to October 2018: `<category>.json.gz`.
        All2018 = "2018",
        /// Of that, users and products with 5 reviews or more: `<category>_5.json.gz`.
        Core2018 = "2018-5core",
        /// May 1996 to September 2023: `<category>.jsonl.gz`.
        All2023 = "2023",
    }
}

plugin! {
    /// Amazon product reviews of 2014, 2018 or 2023, with titles, and with pictures if they lie beside them.
    ///
    /// The sources are jmcauley.ucsd.edu/data/amazon/links.html (2014), nijianmo.github.io/amazon (2018) and
    /// amazon-reviews-2023.github.io. They assign no licence and are meant for research; texts and pictures are
    /// Amazon's and its customers', not to be redistributed. Read are the reviews, `reviews_<category>_5.json.gz`,
    /// `<category>_5.json.gz` or `<category>.jsonl.gz`, and the products, `meta_<category>.json.gz` or `.jsonl.gz`, all
    /// packed or not. `ablate fetch amazon-2023:<category>` gets both; of 2014 and 2018 it gets the 5-core and the
    /// products. 2014's products are Python's dictionaries and no JSON. Files are read line by line, once; only
    /// ids, times, titles and the attributes asked for are kept in memory. Every review is an interaction, in the order of
    /// the file, also where a user reviewed a product twice, but those that `min_rating` leaves out.
    ///
    /// Traps: 2014 and 2018 have days, so ties are common, and are put in the order of the file; 2023 has milliseconds.
    /// 2023's items are `parent_asin`, which joins a product's variants. Some products have no title and are called as
    /// their id; so are those of 2018 whose title is a piece of the page's script (`getTime`). `&amp;` and the like
    /// become characters. Pictures are linked and not contained: `ablate pictures SPEC` gets those of the items that the
    /// protocol keeps, the first of each product: `imUrl` of 2014, `imageURLHighRes` of 2018, `large` of 2023.
    struct AmazonReviews: Dataset = "amazon_reviews" version 3 {
        /// The category as it stands in the names of the files: `Video_Games`.
        category: String,
        /// Which release, and whether its 5-core.
        release: Release = Release::All2023,
        /// The folder with both files, relative to the cache folder; `amazon-2014`, `amazon-2018` or `amazon-2023` when
        /// not given.
        folder: Option<PathBuf> = None,
        /// The folder of pictures in it, `<product id>.jpg` or png, jpeg, webp; if it is not there, products have none.
        images: PathBuf = PathBuf::from("images"),
        /// Reviews with fewer stars are left out and counted.
        #[range(0.0..=5.0)]
        min_rating: f64 = 0.0,
        /// Keys of the products that are kept, for prompts and as features (`attributes`): `brand`, `categories`, `price` of
        /// 2014, `brand`, `category`, `price` of 2018, `store`, `categories`, `price` of 2023.
        attributes: Vec<String> = Vec::new(),
    }
}

/// How a release is written.
struct Layout {
    /// The folder in the cache.
    folder: &'static str,
    /// What stands around the category in the name of the file of reviews.
    reviews: [&'static str; 2],
    /// The end of the name of the file of products.
    products: &'static str,
    /// The keys of a review: user, product, time, stars.
    keys: [&'static str; 4],
    /// Microseconds in the unit of the time.
    microseconds: i64,
    /// Where it is to be had.
    page: &'static str,
}

const KEYS: [&str; 4] = ["reviewerID", "asin", "unixReviewTime", "overall"];
const LAYOUT_2014: Layout = Layout {
    folder: "amazon-2014",
    reviews: ["reviews_", ".json"],
    products: ".json",
    keys: KEYS,
    microseconds: 1_000_000,
    page: "jmcauley.ucsd.edu/data/amazon/links.html",
};
const LAYOUT_2018: Layout =
    Layout { folder: "amazon-2018", reviews: ["", ".json"], page: "nijianmo.github.io/amazon", ..LAYOUT_2014 };
const LAYOUT_2023: Layout = Layout {
    folder: "amazon-2023",
    reviews: ["", ".jsonl"],
    products: ".jsonl",
    keys: ["user_id", "parent_asin", "timestamp", "rating"],
    microseconds: 1_000,
    page: "amazon-reviews-2023.github.io",
};

impl Release {
    fn layout(self) -> Layout {
        match self {
            Self::All2014 => LAYOUT_2014,
            Self::Core2014 => Layout { reviews: ["reviews_", "_5.json"], ..LAYOUT_2014 },
            Self::All2018 => LAYOUT_2018,
            Self::Core2018 => Layout { reviews: ["", "_5.json"], ..LAYOUT_2018 },
            Self::All2023 => LAYOUT_2023,
        }
    }
}

impl Dataset for AmazonReviews {
    fn load(&self, cx: &Context) -> Result<Corpus> {
        let [reviews, products] = self.paths(&cx.cache)?;
        let pictures = self.pictures(&cx.cache)?;
        self.corpus(&reviews, &products, &pictures).map_err(|error| {
            error.fix(format!("the original file, from {}; or the release that it is of", self.release.layout().page))
        })
    }

    fn files(&self, cache: &Path) -> Result<Vec<PathBuf>> {
        let mut files = self.paths(cache)?.to_vec();
        files.extend(self.pictures(cache)?.into_files());
        Ok(files)
    }

    fn linked_pictures(&self, cache: &Path) -> Result<Option<LinkedPictures>> {
        let ([_, products], key) = (self.paths(cache)?, self.release.layout().keys[1]);
        let (mut lines, mut links, mut seen) = (Lines::open(&products)?, Vec::new(), Ids::default());
        while lines.advance()? {
            let line = lines.line();
            let [id, link] = match self.release {
                Release::All2014 | Release::Core2014 => {
                    fields(line, [Some(key), Some("imUrl")])?.map(|v| v.map(String::from))
                }
                _ => {
                    let product: Value = serde_json::from_str(line.text).map_err(|error| line.place.broken(error))?;
                    [product[key].as_str().map(String::from), link(&product)]
                }
            };
            if let (Some(id), Some(link)) = (id, link)
                && seen.add(&id).is_some()
            {
                links.push((id, link));
            }
        }
        Ok(Some(LinkedPictures { folder: self.folder(cache).join(&self.images), links }))
    }
}

impl AmazonReviews {
    fn folder(&self, cache: &Path) -> PathBuf {
        cache.join(self.folder.as_deref().unwrap_or(Path::new(self.release.layout().folder)))
    }

    fn paths(&self, cache: &Path) -> Result<[PathBuf; 2]> {
        let (folder, layout, category) = (self.folder(cache), self.release.layout(), &self.category);
        let find = |name: String| {
            let names = [format!("{name}.gz"), name];
            let fix = match self.release {
                Release::All2014 | Release::All2018 => format!("the file from {} there", layout.page),
                _ => format!("`ablate fetch {}:{category}`, or the file from {} there", layout.folder, layout.page),
            };
            present(&folder, &names.each_ref().map(String::as_str), fix)
        };
        let [before, behind] = layout.reviews;
        Ok([find(format!("{before}{category}{behind}"))?, find(format!("meta_{category}{}", layout.products))?])
    }

    fn pictures(&self, cache: &Path) -> Result<Pictures> {
        Pictures::find(&self.folder(cache).join(&self.images))
    }

    fn corpus(&self, reviews: &Path, products: &Path, pictures: &Pictures) -> Result<Corpus> {
        let Layout { keys, microseconds, .. } = self.release.layout();
        let [user, item, time, stars] = keys;
        let (mut users, mut items, mut table) = (Ids::default(), Ids::default(), Interactions::default());
        let (mut lines, mut tally) = (Lines::open(reviews)?, Tally::default());
        while lines.advance()? {
            let line = lines.line();
            if line.text.trim().is_empty() {
                tally.count(line.place, "are empty and passed over");
                continue;
            }
            if self.min_rating > 0.0 {
                let [given] = required(line, [stars])?;
                let wrong = || line.place.broken(format!("`{stars}` is {}, not a number", short(&given)));
                if given.parse::<f64>().map_err(|_| wrong())? < self.min_rating {
                    tally.count(line.place, &format!("have fewer stars than {} and are left out", self.min_rating));
                    continue;
                }
            }
            let [user, item, time] = required(line, [user, item, time])?;
            let Some(time) = time.parse::<i64>().ok().and_then(|time| time.checked_mul(microseconds)) else {
                return Err(line.place.broken(format!("the time is {}, not a whole number", short(&time))));
            };
            push(&mut table, users.intern(&user), items.intern(&item), time);
        }
        let (titles, attributes) = self.products(products, item, &items)?;
        let items = Items { attributes, ..catalogue(items.into_names(), titles, pictures)? };
        let (users, interactions) = (users.into_names(), in_coarsest_unit(table));
        Ok(Corpus { users, items, interactions, notes: tally.into_notes(), ..Corpus::default() })
    }

    /// The titles and attributes of the products that were reviewed; the first where there are two.
    fn products(&self, path: &Path, key: &str, items: &Ids) -> Result<(Vec<String>, Vec<Attribute>)> {
        let (mut lines, mut titles) = (Lines::open(path)?, vec![String::new(); items.len()]);
        let attribute = |name: &String| Attribute { name: name.clone(), values: vec![None; items.len()] };
        let mut attributes: Vec<Attribute> = self.attributes.iter().map(attribute).collect();
        let keys: Vec<&str> = [key, "title"].into_iter().chain(self.attributes.iter().map(String::as_str)).collect();
        while lines.advance()? {
            let line = lines.line();
            if line.text.trim().is_empty() {
                continue;
            }
            let mut cells =
                literals(line, &keys)?.into_iter().map(|value| value.map_or(Cell::Missing, Literal::into_cell));
            let (id, title) = (cells.next().unwrap_or(Cell::Missing), cells.next().unwrap_or(Cell::Missing));
            let Some(id) = id.text() else { return Err(line.place.broken(format!("`{key}` is missing"))) };
            let Some(item) = items.get(&id).map(|item| item as usize) else { continue };
            if let Some(title) = title.text()
                && titles[item].is_empty()
                && !title.contains("getTime")
            {
                titles[item] = one_line(&characters(&title));
            }
            for (attribute, cell) in attributes.iter_mut().zip(cells) {
                let value = cell.value().map(|text| one_line(&characters(&text))).filter(|text| !text.is_empty());
                let known = &mut attribute.values[item];
                *known = known.take().or(value);
            }
        }
        if let Some(name) = attributes.iter().find(|attribute| attribute.values.iter().all(Option::is_none)) {
            let what = format!("no product that was reviewed has `{}`", name.name);
            return Err(Error::new(what).at(path.display()).fix("`attributes`, keys of the products of this release"));
        }
        Ok((titles, attributes))
    }
}

/// The address of a product's first picture, in the releases of 2018 and 2023.
fn link(product: &Value) -> Option<String> {
    let first = &product["images"][0];
    let all = [&first["large"], &first["hi_res"], &product["imageURLHighRes"][0], &product["imageURL"][0]];
    all.into_iter().find_map(Value::as_str).map(String::from)
}

/// `title` with the characters that HTML's names stand for.
fn characters(title: &str) -> String {
    let names = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")];
    names.iter().fold(title.to_string(), |title, (name, character)| title.replace(name, character))
}

inventory::submit! { AMAZON_2014 }
inventory::submit! { AMAZON_2018 }
inventory::submit! { AMAZON_2023 }

// The hosts could not be reached where this was written, so sizes and checksums are not known.
const AMAZON_2014: Archive = Archive {
    name: "amazon-2014:{category}",
    title: "Amazon reviews of 2014, 5-core of {category}",
    licence: "Amazon's reviews of 2014: no licence is assigned; for research; cite McAuley et al., SIGIR 2015, and He \
              and McAuley, WWW 2016; do not redistribute texts and pictures: they are Amazon's and its customers'.",
    page: LAYOUT_2014.page,
    downloads: &[
        Download {
            url: "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/reviews_{category}_5.json.gz",
            file: FileSum { name: "reviews_{category}_5.json.gz", sha256: None },
            bytes: None,
        },
        Download {
            url: "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/meta_{category}.json.gz",
            file: FileSum { name: "meta_{category}.json.gz", sha256: None },
            bytes: None,
        },
    ],
    ..Archive::EMPTY
};

const AMAZON_2018: Archive = Archive {
    name: "amazon-2018:{category}",
    title: "Amazon reviews of 2018, 5-core of {category}",
    licence: "Amazon's reviews of 2018: no licence is assigned; for research; nijianmo.github.io/amazon asks you to \
              fill in a form first; cite Ni et al., EMNLP 2019; do not redistribute texts and pictures: they are Amazon's \
              and its customers'.",
    page: LAYOUT_2018.page,
    downloads: &[
        Download {
            url: "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall/{category}_5.json.gz",
            file: FileSum { name: "{category}_5.json.gz", sha256: None },
            bytes: None,
        },
        Download {
            url: "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/metaFiles2/meta_{category}.json.gz",
            file: FileSum { name: "meta_{category}.json.gz", sha256: None },
            bytes: None,
        },
    ],
    ..Archive::EMPTY
};

const AMAZON_2023: Archive = Archive {
    name: "amazon-2023:{category}",
    title: "Amazon reviews of 2023, {category}",
    licence: "Amazon's reviews of 2023: the authors say that they are in no position to assign a licence and that it \
              is for research; cite Hou et al., arXiv 2403.03952; do not redistribute texts and pictures: they are \
              Amazon's and its customers'.",
    page: LAYOUT_2023.page,
    downloads: &[
        Download {
            url: "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/{category}.jsonl.gz",
            file: FileSum { name: "{category}.jsonl.gz", sha256: None },
            bytes: None,
        },
        Download {
            url: "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/meta_categories/meta_{category}.jsonl.gz",
            file: FileSum { name: "meta_{category}.jsonl.gz", sha256: None },
            bytes: None,
        },
    ],
    ..Archive::EMPTY
};

#[cfg(test)]
mod tests;
