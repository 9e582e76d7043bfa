//! The database: SQLite in memory with made-up products. A page takes some milliseconds, which is why it is cached.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::json;

/// How many products there are, with ids from 1.
pub(crate) const PRODUCTS: i64 = 1000;
const CATEGORIES: i64 = 10;
const REVIEWS_PER_PRODUCT: i64 = 50;

/// A product, its rating, and its place among the products of its category.
const PAGE: &str = "
    WITH rated AS (
        SELECT product.id, avg(review.stars) AS stars, count(*) AS reviews
        FROM product JOIN review ON review.product = product.id
        WHERE product.category = (SELECT category FROM product WHERE id = ?1)
        GROUP BY product.id)
    SELECT product.name, product.price_cents, rated.stars, rated.reviews,
           1 + (SELECT count(*) FROM rated AS better WHERE better.stars > rated.stars)
    FROM product JOIN rated ON rated.id = product.id WHERE product.id = ?1";

pub(crate) struct Shop(Mutex<Connection>);

impl Shop {
    pub(crate) fn open() -> rusqlite::Result<Self> {
        let mut connection = Connection::open_in_memory()?;
        connection.execute_batch(
            "CREATE TABLE product (id INTEGER PRIMARY KEY, category INTEGER, name TEXT, price_cents INTEGER);
             CREATE TABLE review (product INTEGER, stars INTEGER);
             CREATE INDEX product_category ON product (category);
             CREATE INDEX review_product ON review (product);",
        )?;
        let transaction = connection.transaction()?;
        for id in 1..=PRODUCTS {
            transaction.prepare_cached("INSERT INTO product VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                id,
                id % CATEGORIES,
                format!("Product {id}"),
                100 + id
            ])?;
            for review in 0..REVIEWS_PER_PRODUCT {
                let stars = 1 + (id * id + review * (id % 7)) % 5;
                transaction
                    .prepare_cached("INSERT INTO review VALUES (?1, ?2)")?
                    .execute(params![id, stars])?;
            }
        }
        transaction.commit()?;
        Ok(Self(Mutex::new(connection)))
    }

    /// The page of a product as JSON, `None` if there is no such product.
    pub(crate) fn page(&self, id: i64) -> rusqlite::Result<Option<String>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(PAGE)?;
        let page = statement.query_row([id], |row| {
            Ok(json!({
                "id": id,
                "name": row.get::<_, String>(0)?,
                "price_cents": row.get::<_, i64>(1)?,
                "stars": row.get::<_, f64>(2)?,
                "reviews": row.get::<_, i64>(3)?,
                "rank_in_category": row.get::<_, i64>(4)?,
            }))
        });
        Ok(page.optional()?.map(|page| page.to_string()))
    }

    /// Whether there is such a product.
    pub(crate) fn set_price(&self, id: i64, price_cents: i64) -> rusqlite::Result<bool> {
        let changed = self
            .lock()
            .execute("UPDATE product SET price_cents = ?2 WHERE id = ?1", params![id, price_cents])?;
        Ok(changed == 1)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
