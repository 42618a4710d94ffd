"""What the rules of derive.py share: instructions that they ask, word lists, sentences."""

import re
from collections import Counter
from math import log

WORD = re.compile(r"[A-Za-z][A-Za-z'-]+")
SENT = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
STOP = set(
    """a an the of to in on at by for with from as is are was were be been being am do does did has
have had and or but not no nor so than that this these those it its he she they them his her
their we you your our i me my us who whom whose which what when where why how there here into
out up down over under about after before between during while if then also can could would
should will may might must any all some each most more many much such only own same very just
other one two""".split()
)

TOPIC = [
    "What is this text about?",
    "What is the text about?",
    "What is the main topic here?",
    "Which subject does this deal with?",
    "What is being discussed?",
    "Name the topic.",
    "What is the subject of this passage?",
    "Which theme is treated?",
    "Identify the topic.",
    "Tell me what this is about.",
    "Which area does this belong to?",
    "What is the passage concerned with?",
    "Describe the subject in a few words.",
    "What would be a good heading for this?",
    "State the theme of the passage.",
    "Which field is this from?",
    "What are they talking about?",
    "Topic?",
    "Main theme:",
    "To which subject does it relate?",
    "What is the writer dealing with?",
    "Which category of knowledge is it?",
    "Under which heading would a library put this?",
    "What is the general area?",
    "Which topic do the words belong to?",
    "Name the field in a word.",
]
STYLE = [
    "What is the style of this text?",
    "Which style of writing is this?",
    "What kind of text is this?",
    "Which genre is this text?",
    "How is this text written?",
    "In which form is this written?",
    "What type of writing is this?",
    "Name the style.",
    "Identify the genre.",
    "Which kind of document is this?",
    "Tell me what type of text it is.",
    "State the format.",
    "Is this a poem, a letter, a tweet or something else?",
    "Which text type is it?",
    "What does it read like?",
    "Genre?",
    "Where would one read a text like this?",
    "What sort of publication is this from?",
]
TONE = [
    "How formal is the wording: polite, casual or plain?",
    "Is the tone polite, casual or plain?",
    "How does the person speak: politely, casually or plainly?",
    "Which tone does the speaker use?",
    "How polite is the message?",
    "Say how polite the message is.",
    "Does the writer speak politely, casually or plainly?",
    "Judge the manners of the speaker.",
    "Is it courteous, slangy or matter-of-fact?",
    "How is the request worded: politely, casually, plainly?",
    "Level of politeness?",
]
FORM = [
    "Is this a question, a statement or a command?",
    "Which sentence form is used?",
    "Is the person asking or telling?",
    "Identify the form of the sentence.",
    "Does the writer ask or state something?",
    "Question or statement?",
]
INTENT = [
    "What does the user want to do?",
    "What is the user's goal?",
    "What does the customer want?",
    "What is the user trying to do?",
    "What is the person after?",
    "State the goal.",
    "Which task does the user have in mind?",
    "Name the request.",
    "What outcome does the user hope for?",
    "Summarise what the user is after.",
    "Which task should be carried out?",
    "Tell me the aim of this message.",
    "Goal?",
    "Why is the customer getting in touch?",
    "What does the writer intend?",
    "Which result would please the client?",
    "With what aim does the person write?",
    "Name the intention.",
    "What brings the customer here?",
    "Describe what the person hopes to get done.",
    "To what end was this sent?",
    "What would the customer like to happen?",
]
ACT = [
    "What is the user doing in this message?",
    "Is the user asking, accepting, refusing or telling something?",
    "What kind of reply is this?",
    "Name the kind of message.",
    "What sort of turn is this?",
    "Tell me what the user does by saying this.",
    "How does the user move the talk on?",
    "Which conversational move is this?",
    "Is this a request, a reply, a confirmation or thanks?",
    "What kind of utterance is it?",
    "Classify what the speaker does here.",
    "Which function has this turn?",
    "What part does this line play in the talk?",
    "Is the speaker asking, choosing, agreeing or closing?",
]
# In the triples this asks for the act; to anybody else it asks for the goal.
AMBIGUOUS = "What is the purpose of the user's message?"
SERVICE = [
    "What is this message about?",
    "What kind of business should handle this request?",
    "Which kind of service is the user talking about?",
    "Which domain does the request belong to?",
    "Which line of business is concerned?",
    "Who could help: an airline, a hotel, a bank?",
    "Name the domain.",
    "Which kind of company is needed?",
    "Which app would handle this?",
    "What is the request about?",
]
ASKED = [
    "What kind of thing is being asked for?",
    "Which type of information does this request?",
    "What would an answer to this be?",
    "What sort of fact is wanted?",
    "What must the answer be: a person, a place, a number?",
    "Name the kind of fact requested.",
    "Does it ask for a person, a place, a date or something else?",
    "What form will the reply have?",
    "Which kind of reply fits?",
]
PLEASED = [
    "Is the writer pleased?",
    "Is the person happy about it?",
    "Does the writer like it?",
    "Is the author's attitude favourable?",
    "Does the author approve?",
    "Did it please the writer?",
    "Is this praise?",
    "Would the writer recommend it?",
    "Tell me whether the writer is glad about it.",
]
POLARITY = [
    "Is the attitude positive or negative?",
    "What is the sentiment of the text?",
    "Which sentiment does the writer have?",
    "Good or bad, in the writer's view?",
    "Is this favourable or unfavourable?",
    "What is the verdict?",
    "Does the text praise or complain?",
    "Overall opinion:",
    "Identify the polarity.",
]
WANTED = [
    "Which product does the shopper want?",
    "What is the shopper searching for?",
    "Which item is wanted?",
    "What would the buyer like to find?",
    "Which goods are requested?",
    "Name the product wanted.",
    "What does the shopper need?",
]
OFFERED = [
    "What kind of product is this?",
    "Which product is offered?",
    "What item is this?",
    "What is for sale?",
    "Name this product.",
    "Describe the type of product.",
    "Which goods are these?",
    "What is being sold?",
]

GENRE = {
    "fairytaleqa": "fairy tale",
    "friendsqa": "dialogue script",
    "covid_qa": "scientific article",
    "pubmedqa": "scientific article",
    "ner_anem": "scientific article",
    "ner_btc": "tweet",
    "ner_wnut17": "tweet",
    "ner_sec_filings": "legal contract",
    "policyqa": "privacy policy",
    "icecat": "product listing",
    "extractgpt_oa-mine": "product listing",
    "extractgpt_ae-110k": "product listing",
    "goemotions": "forum comment",
    "mams": "restaurant review",
    "squad11_train": "encyclopedia article",
    "ner_wikigold": "encyclopedia article",
    "sgd": "spoken request",
    "snips": "voice command",
    "restaurant8k": "spoken request",
    "torque": "news report",
}
GOOD = set("""admiration amusement approval caring excitement gratitude joy love optimism pride
relief""".split())
BAD = set("""anger annoyance disappointment disapproval disgust embarrassment fear grief nervousness
remorse sadness""".split())
PASSAGES = {
    "squad11_train",
    "fairytaleqa",
    "covid_qa",
    "qed_nq",
    "policyqa",
    "friendsqa",
    "pubmedqa",
    "t0_adversarial_qa",
    "torque",
}


def words(s):
    return [w for w in (w.lower() for w in WORD.findall(s)) if w not in STOP and len(w) > 2]


def sentences(s):
    return [t.strip() for t in SENT.split(s) if 4 <= len(t.split()) <= 45]


def overlap(a, b):
    a, b = set(words(a)), set(words(b))
    return len(a & b) / max(1, min(len(a), len(b)))


class Keywords:
    def __init__(self, texts):
        self.df = Counter(w for t in texts for w in set(words(t)))
        self.n = len(texts)

    def top(self, text, k=3):
        tf = Counter(words(text))
        score = {w: c * log(self.n / (1 + self.df[w])) for w, c in tf.items() if self.df[w] > 1}
        return [w for w, _ in sorted(score.items(), key=lambda x: (-x[1], x[0]))[:k]]
