//! x
fn main() {
    let folder = std::env::args().nth(1).unwrap();
    let t = std::time::Instant::now();
    let model = likewise::Embedder::open(folder).unwrap();
    println!("load {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let s = model.similarity("That is a happy person", &["That is a happy dog", "That is a very happy person", "Today is a sunny day"]).unwrap();
    println!("{:?} {:?}", s, t.elapsed());
    for _ in 0..3 { let t = std::time::Instant::now();
    let s = model.similarity("That is a happy person", &["That is a happy dog", "That is a very happy person", "Today is a sunny day"]).unwrap();
    println!("{:?} {:?}", s.values, t.elapsed());}
    if let Some(f) = std::env::args().nth(2) {
        let texts: Vec<String> = std::fs::read_to_string(f).unwrap().lines().map(str::to_owned).collect();
        for _ in 0..3 { let t = std::time::Instant::now(); let e = model.embed(&texts).unwrap(); let n: usize = e.usage().iter().map(|u| u.used).sum();
        println!("{} tokens {:.0} tokens/s", n, n as f64 / t.elapsed().as_secs_f64()); }
    }
}
