"""What is wrong with a passage or a question. What is wrong with files and options is a tf_fastbert.wrap.errors.WrapError."""


class QuestionError(ValueError):
    """A passage or a question that cannot be answered; the message says why and what to do."""
