"""The reviewer's page: a server, its workers, and what they show."""
