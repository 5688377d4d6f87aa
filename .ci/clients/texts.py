"""The texts whose vectors the frameworks' clients must return. As a program, prints them, one a line, for `likewise embed`."""

from checks import SENTENCES, SOURCE

TOPICS = ["a river", "an old clock", "the night train", "fresh bread", "a broken window", "two brothers"]
# More than a hundred different texts, so that the clients that divide a list into requests do so.
MANY = [f"Sentence {n} is about {TOPICS[n % len(TOPICS)]} and {n * n} other things." for n in range(1, 131)]
# What an encoding on the way could change.
UNUSUAL = ['"Quotes", \\n, {"json": [1]} & <b>tags</b>', "Grüße aus Köln, 東京 и Москвы", "👩‍🚀 and 𝕬", "-1 < 0", "."]
# More tokens than the model takes, and so truncated.
LONG = " ".join(f"word{n} and another one," for n in range(600))
TEXTS = [SOURCE, *SENTENCES, *MANY, *UNUSUAL, LONG]

if __name__ == "__main__":
    print("\n".join(TEXTS))
