--
-- Databases that are not in UTF8
--
CREATE DATABASE regress_instemb_latin1 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'
	TEMPLATE template0;
CREATE DATABASE regress_instemb_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'
	TEMPLATE template0;
SELECT current_database() AS db, current_setting('instemb.data_model_dir') AS dir \gset
SELECT instemb_tokens('café naïve', 'tiny') AS tokens,
	instemb('café naïve', 'où?', 'tiny') AS e \gset

\c regress_instemb_latin1
CREATE EXTENSION instemb;
SET instemb.data_model_dir = :'dir';
SET client_encoding = 'UTF8';
SELECT instemb_tokens('café naïve', 'tiny') = :'tokens' AS same, octet_length('café');
SELECT instemb('café naïve', 'où?', 'tiny') = :'e' AS same;
SELECT count(DISTINCT e) FROM instemb(array['café naïve', 'cafe naive'], 'où?', 'tiny') AS e;
CREATE TABLE t (t text, e real[]);
CREATE TRIGGER embed BEFORE INSERT ON t FOR EACH ROW
	EXECUTE FUNCTION instemb_update_trigger('e', 'où?', 'tiny', 't');
INSERT INTO t VALUES ('café naïve') RETURNING e = instemb('café naïve', 'où?', 'tiny') AS same;
SELECT instemb_model_info('tiny') -> 'template' ->> 'body' AS body;
SELECT instemb('a', 'b', 'tïny');

\c regress_instemb_ascii
CREATE EXTENSION instemb;
SET instemb.data_model_dir = :'dir';
SELECT instemb_tokens(convert_from('\x636166c3a9206e61c3af7665', 'SQL_ASCII'), 'tiny') = :'tokens'
	AS same;
-- bytes that are no UTF-8
SELECT instemb_tokens(convert_from('\x636166e9', 'SQL_ASCII'), 'tiny');
SELECT instemb(convert_from('\x636166e9', 'SQL_ASCII'), 'q', 'tiny');
SELECT instemb('a', convert_from('\xff', 'SQL_ASCII'), 'tiny');
SELECT cardinality(instemb('a', 'b', 'tiny'));

\c :db
DROP DATABASE regress_instemb_latin1;
DROP DATABASE regress_instemb_ascii;
